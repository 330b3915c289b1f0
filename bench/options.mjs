// The words of bench/run.mjs.
import { parseArgs } from "node:util";
import { TEMPERATURES, WAYS } from "./tools.mjs";

export const WORKLOADS = ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9"];

export const USAGE = `usage: npm run bench -- [options]

  --workloads W1,W3          which of ${WORKLOADS.join(", ")} (default all)
  --temperatures cold,…      which of ${TEMPERATURES.join(", ")} (default all)
  --ways root-mounted,…      which of ${WAYS.join(", ")} (default all)
  --peers buildah,…          which peers, of those found; "" for none (default all)
  --rounds N                 how often (default 3)
  --minutes N                begin nothing more after that time
  --json FILE                write every run; with --append beside those that FILE holds
  --svg FILE                 draw a chart
  --markdown FILE            write the tables as in docs/performance.md
  --report                   measure nothing: tables and chart of what --json FILE holds
  --tsbuild DIR              the checkout to measure (default this one)
  --short                    small contexts and bases, one round: shows that all of it works
  --no-verify                do not look at the images that were built
`;

/** @throws Error for a word that is not known */
export function parseOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      ...Object.fromEntries(
        ["workloads", "temperatures", "ways", "peers", "rounds", "minutes"].map(text),
      ),
      ...Object.fromEntries(["json", "svg", "markdown", "tsbuild"].map(text)),
      ...Object.fromEntries(
        ["append", "report", "short", "no-verify", "help"].map((name) => [
          name,
          { type: "boolean", default: false },
        ]),
      ),
    },
  });
  const { json, svg, markdown, append, report, short, help } = values;
  if ((append || report) && json === undefined) throw new Error("which file? --json FILE");
  return {
    workloads: list("workloads", values, WORKLOADS),
    temperatures: list("temperatures", values, TEMPERATURES),
    ways: list("ways", values, WAYS),
    peers: values.peers === undefined ? undefined : values.peers.split(",").filter(Boolean),
    rounds: short ? 1 : number("rounds", values.rounds, 3),
    minutes: number("minutes", values.minutes, Infinity),
    json,
    svg,
    markdown,
    tsbuild: values.tsbuild,
    append,
    report,
    short,
    help,
    verify: !values["no-verify"],
  };
}

function text(name) {
  return [name, { type: "string" }];
}

function list(name, values, known) {
  const words = values[name]?.split(",") ?? known;
  const wrong = words.filter((word) => !known.includes(word));
  if (wrong.length > 0) throw new Error(`--${name}: ${wrong.join(", ")} is none of ${known}`);
  return words;
}

function number(name, value, otherwise) {
  const result = value === undefined ? otherwise : Number(value);
  if (!(result > 0)) throw new Error(`--${name}: ${value} is not a number above 0`);
  return result;
}
