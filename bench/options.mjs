// The words of bench/run.mjs.
import { parseArgs } from "node:util";
import { TEMPERATURES, WAYS } from "./tools.mjs";

export const WORKLOADS = ["W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9"];

export const USAGE = `usage: npm run bench -- [options]

What is measured:
  --workloads W1,W3          which of ${WORKLOADS.join(", ")}, in this order (default all)
  --temperatures cold,…      which of ${TEMPERATURES.join(", ")} (default all)
  --ways root-mounted,…      which of ${WAYS.join(", ")} (default all)
  --peers buildah,…          which peers, of those found; "" for none (default all)
  --tsbuild DIR              the checkout to measure (default this one)
  --short                    small contexts and bases, one round: shows that all of it works
  --no-verify                do not look at the images that were built

How long:
  --rounds N                 how often (default 3; 1 with --short)
  --minutes N                begin no build after that time; what was measured until then is kept

What becomes of it:
  --json FILE                write every run, as soon as a tool has built a workload
  --append                   keep the runs that FILE holds; the rounds are numbered on
  --continue                 the same, but first end FILE's last round: build what it has not
  --svg FILE                 draw a chart
  --markdown FILE            write the tables as in docs/performance.md
  --markdown-into FILE       replace what FILE has between <!-- tables --> and <!-- /tables -->
  --report                   measure nothing: tables and chart of what --json FILE holds
`;

/** @throws Error for a word that is not known */
export function parseOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      ...Object.fromEntries(
        ["workloads", "temperatures", "ways", "peers", "rounds", "minutes"].map(text),
      ),
      ...Object.fromEntries(["json", "svg", "markdown", "markdown-into", "tsbuild"].map(text)),
      ...Object.fromEntries(
        ["append", "continue", "report", "short", "no-verify", "help"].map((name) => [
          name,
          { type: "boolean", default: false },
        ]),
      ),
    },
  });
  const { json, svg, markdown, append, report, short, help } = values;
  const resume = values.continue;
  if ((append || resume || report) && json === undefined) {
    throw new Error("which file? --json FILE");
  }
  return {
    workloads: list("workloads", values, WORKLOADS),
    temperatures: list("temperatures", values, TEMPERATURES),
    ways: list("ways", values, WAYS),
    peers: values.peers === undefined ? undefined : values.peers.split(",").filter(Boolean),
    rounds: number("rounds", values.rounds, short ? 1 : 3),
    minutes: number("minutes", values.minutes, Infinity),
    json,
    svg,
    markdown,
    markdownInto: values["markdown-into"],
    tsbuild: values.tsbuild,
    append: append || resume,
    resume,
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
