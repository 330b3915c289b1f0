// What docs/performance.md shows between its markers: the budgets and what was seen of them, one line for each workload and
// temperature, and then every figure.
import { machineLine, toolsLine } from "./machine.mjs";
import {
  fixed,
  isGood,
  markdownTables,
  median,
  seconds,
  summarise,
  TEMPERATURE_ORDER,
} from "./report.mjs";
import { W2_STEPS } from "./workloads/generate.mjs";

const [BEGIN, END] = ["<!-- tables -->", "<!-- /tables -->"];

/** The text between the markers, without them. */
export function markdownReport({ machine, calibrations = [], runs }) {
  return [
    `${machineLine(machine, calibrations)}.`,
    `${toolsLine(machine)}.`,
    "## Budgets",
    table(...budgets(runs, calibrations)),
    "## Wall time",
    table(...comparison(runs)),
    "## All figures",
    markdownTables(runs).trimEnd(),
  ]
    .map((part) => `${part}\n`)
    .join("\n");
}

/** @throws Error where a marker is missing */
export function replaceBetweenMarkers(page, text) {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the page has no ${BEGIN} with a ${END} after it`);
  return `${page.slice(0, begin + BEGIN.length)}\n\n${text}\n${page.slice(end)}`;
}

function table(head, rows) {
  const lines = [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** One row for each workload and temperature: the fastest peer's seconds, and by them those of each way of tsbuild. */
function comparison(runs) {
  const rows = summarise(runs);
  const groups = ["root", "user"].map((group) => ({
    group,
    tools: [...new Set(own(rows, { group, peer: false }).map((row) => row.tool))].sort((a, b) =>
      a.localeCompare(b),
    ),
  }));
  const shown = groups.filter(({ tools }) => tools.length > 0);
  const head = shown.flatMap(({ group, tools }) => [
    `fastest peer as ${group}, s`,
    ...tools.flatMap((tool) => [`${tool.replace("tsbuild ", "")}, s`, "by peer"]),
  ]);
  const keys = [...new Set(rows.map((row) => `${row.workload} ${row.temperature}`))].sort(inOrder);
  const cells = keys.map((key) => {
    const [workload, temperature] = key.split(" ");
    const here = own(rows, { workload, temperature });
    return [
      key,
      ...shown.flatMap(({ group, tools }) => [
        seconds(fastestPeer(here, group)),
        ...tools.flatMap((tool) => {
          const row = here.find((one) => one.tool === tool && one.group === group);
          return [seconds(row?.wall), ratio(row?.wallRatio)];
        }),
      ]),
    ];
  });
  return [["", ...head], cells];
}

function own(rows, wanted) {
  return rows.filter((row) => Object.entries(wanted).every(([key, value]) => row[key] === value));
}

/** The wall seconds of the peer whose median is the least. */
function fastestPeer(rows, group) {
  const walls = own(rows, { group, peer: true }).map((row) => row.wall);
  return walls.length === 0 ? undefined : Math.min(...walls);
}

function ratio(value) {
  return value === undefined ? "-" : `**${value.toFixed(2)}**`;
}

function inOrder(a, b) {
  const [[v, s], [w, t]] = [a, b].map((key) => key.split(" "));
  return v.localeCompare(w) || TEMPERATURE_ORDER.indexOf(s) - TEMPERATURE_ORDER.indexOf(t);
}

/**
 * What docs/performance.md promises, and what was seen of it, a column for each builder. Seconds come with how many times
 * `node -e 0` fits into them in that round, so that a slow machine's can be judged.
 */
function budgets(runs, calibrations) {
  const good = runs.filter(isGood);
  const ways = [
    ...new Map(good.map(({ tool, group, peer }) => [`${tool}\n${group}`, { tool, group, peer }])),
  ]
    .map(([, way]) => way)
    .sort((a, b) => Number(a.peer) - Number(b.peer) || a.group.localeCompare(b.group));
  const rows = summarise(runs);
  const of = (way) => ({
    ...way,
    all: rows,
    good: own(good, { tool: way.tool, group: way.group }),
    rows: own(rows, { tool: way.tool, group: way.group }),
    calibrations: byRound(calibrations),
  });
  const lines = BUDGETS.map(({ what, budget, cell }) => [
    what,
    budget,
    ...ways.map((way) => cell(of(way)) ?? "-"),
  ]);
  const names = ways.map((way) =>
    way.peer ? `${way.tool} as ${way.group}` : way.tool.replace("tsbuild ", ""),
  );
  return [["", "budget", ...names], lines.filter((cells) => cells.slice(2).some((c) => c !== "-"))];
}

function byRound(calibrations) {
  const names = ["nodeStart", "step", "help"];
  return new Map(
    [...new Set(calibrations.map(({ round }) => round))].map((round) => {
      const here = own(calibrations, { round });
      const middle = (name) => median(here.flatMap((one) => one[name] ?? []));
      return [round, Object.fromEntries(names.map((name) => [name, middle(name)]))];
    }),
  );
}

const BUDGETS = [
  {
    what: `a \`RUN\`, above its command: (W2 − W1, warm) / ${W2_STEPS - 1}`,
    budget: "0.06 s",
    cell: (way) =>
      timed(way, ["W2 warm", "W1 warm"], ([many, one], { step }) => {
        return (many - one) / (W2_STEPS - 1) - step;
      }),
  },
  {
    what: "nothing changed: W1 cached",
    budget: "0.15 s",
    cell: (way) => timed(way, ["W1 cached"], ([wall]) => wall),
  },
  {
    what: "50,000 files unchanged: W3 − W1, cached",
    budget: "0.3 s",
    cell: (way) => timed(way, ["W3 cached", "W1 cached"], ([many, none]) => many - none),
  },
  {
    what: "10 MiB on a large base that is known, by the fastest peer: W6 warm",
    budget: "0.10",
    cell: ({ rows }) => byPeer(rows, "W6", "warm"),
  },
  {
    what: "10 MiB on a large base, nothing known, by the fastest peer: W6 cold",
    budget: "0.33",
    cell: ({ rows }) => byPeer(rows, "W6", "cold"),
  },
  {
    what: "a cold build, by the fastest peer: the middle and the worst of W1 to W7",
    budget: "0.50",
    cell: ({ rows }) => middleAndWorst(rows, "wallRatio"),
  },
  {
    what: "its processor time, by the peer that takes least of it: the middle and the worst",
    budget: "1.00",
    cell: ({ rows }) => middleAndWorst(rows, "cpuRatio"),
  },
  {
    what: "compressed size of its own layers where they are 1 MB or more, by BuildKit's: the worst",
    budget: "1.05",
    cell: ({ rows, all }) => {
      const ratios = own(rows, { temperature: "cold", peer: false }).flatMap(
        ({ workload, compressed }) => {
          const [theirs] = own(all, { workload, temperature: "cold", tool: "buildkit" });
          return compressed >= 1e6 && theirs?.compressed ? [compressed / theirs.compressed] : [];
        },
      );
      return ratios.length === 0 ? undefined : Math.max(...ratios).toFixed(3);
    },
  },
  {
    what: "`tsbuild --help`",
    budget: "0.06 s",
    cell: ({ peer, calibrations }) => {
      if (peer) return undefined;
      const perRound = [...calibrations.values()].flatMap(({ help, nodeStart }) =>
        help === undefined ? [] : [{ value: help, starts: help / nodeStart }],
      );
      return medianOf(perRound);
    },
  },
  {
    what: "memory of the largest process",
    budget: "150 MB",
    cell: ({ good }) => {
      const [most] = [...good].sort((a, b) => b.peak - a.peak);
      return most && `${fixed(most.peak / 1e6, 0)} MB (${most.workload} ${most.temperature})`;
    },
  },
];

function middleAndWorst(rows, key) {
  const ratios = own(rows, { temperature: "cold", peer: false })
    .map((row) => row[key])
    .filter((value) => value !== undefined);
  if (ratios.length === 0) return undefined;
  return `${median(ratios).toFixed(2)}, ${Math.max(...ratios).toFixed(2)}`;
}

function byPeer(rows, workload, temperature) {
  const [row] = own(rows, { workload, temperature, peer: false });
  return row?.wallRatio?.toFixed(2);
}

/** The median over the rounds that have all of these runs, in seconds and, where known, in starts of Node. */
function timed({ good, calibrations }, keys, secondsOf) {
  const perRound = [...new Set(good.map((run) => run.round))].flatMap((round) => {
    const walls = keys.map((key) => {
      const [workload, temperature] = key.split(" ");
      return own(good, { round, workload, temperature })[0]?.wall;
    });
    if (walls.includes(undefined)) return [];
    const machine = calibrations.get(round);
    const value = secondsOf(walls, { step: machine?.step ?? 0 });
    return [{ value, starts: machine && value / machine.nodeStart }];
  });
  return medianOf(perRound);
}

function medianOf(perRound) {
  if (perRound.length === 0) return undefined;
  const starts = median(perRound.map((one) => one.starts).filter((value) => value !== undefined));
  const value = median(perRound.map((one) => one.value));
  const text = `${value.toFixed(value < 1 ? 3 : 2)} s`;
  return starts === undefined ? text : `${text} = ${starts.toFixed(1)} n`;
}
