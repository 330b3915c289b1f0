// Runs to tables: medians over rounds, and ratios to the fastest peer of the same round.
/** Who builds, in the words of a heading. */
export const GROUPS = { root: "root", user: "an ordinary user" };

/** Whether a run ended well, and with the image that was asked for. */
export function isGood(run) {
  return run.code === 0 && run.wrong === undefined;
}

/**
 * One row for each tool in each workload and temperature. `wallRatio` and `cpuRatio` are medians over the rounds of this
 * tool's value by the best one of the other peers in that round; undefined where there was none.
 */
export function summarise(runs) {
  const rows = new Map();
  for (const run of runs) {
    if (!isGood(run)) continue;
    const key = [run.group, run.workload, run.temperature, run.tool].join("\n");
    rows.set(key, [...(rows.get(key) ?? []), run]);
  }
  return [...rows.values()].map((own) => {
    const [{ group, workload, temperature, tool, peer }] = own;
    const middle = (key) => median(own.map((run) => run[key]).filter((value) => value !== null));
    return {
      group,
      workload,
      temperature,
      tool,
      peer,
      rounds: own.length,
      ...Object.fromEntries(
        [
          "wall",
          "cpu",
          "peak",
          "groupPeak",
          "up",
          "down",
          "requests",
          "connections",
          "blobs",
          "compressed",
        ].map((key) => [key, middle(key)]),
      ),
      wallRatio: ratioToPeers(own, runs, "wall"),
      cpuRatio: ratioToPeers(own, runs, "cpu"),
    };
  });
}

function ratioToPeers(own, runs, key) {
  const ratios = own.flatMap((run) => {
    const peers = runs.filter(
      (other) =>
        other.peer &&
        isGood(other) &&
        other.tool !== run.tool &&
        ["group", "workload", "temperature", "round"].every((name) => other[name] === run[name]),
    );
    return peers.length === 0 ? [] : [run[key] / Math.min(...peers.map((peer) => peer[key]))];
  });
  return median(ratios);
}

/** The middle value, or the mean of the two; undefined of none. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half] : mean(sorted[half - 1], sorted[half]);
}

function mean(a, b) {
  return a === undefined ? undefined : (a + b) / 2;
}

const COLUMNS = [
  ["wall s", (row) => seconds(row.wall)],
  ["wall/peer", (row) => fixed(row.wallRatio, 2)],
  ["CPU s", (row) => seconds(row.cpu)],
  ["CPU/peer", (row) => fixed(row.cpuRatio, 2)],
  ["peak MB", (row) => fixed(row.peak / 1e6, 0)],
  ["tree MB", (row) => fixed(row.groupPeak / 1e6, 0)],
  ["up MB", (row) => fixed(row.up / 1e6, 2)],
  ["down MB", (row) => fixed(row.down / 1e6, 2)],
  ["requests", (row) => fixed(row.requests, 0)],
  ["connections", (row) => fixed(row.connections, 0)],
  ["rounds", (row) => String(row.rounds)],
];

/** As a table shows it; "-" where there is none. */
export function seconds(value) {
  return fixed(value, value < 10 ? 2 : 1);
}

/** The same for other numbers. */
export function fixed(value, digits) {
  return value === undefined || Number.isNaN(value) ? "-" : value.toFixed(digits);
}

/** Sections of a table: the group's name, and rows of cells with workload, temperature and tool in front. */
function tables(runs) {
  const rows = summarise(runs).sort(
    (a, b) => order(a).localeCompare(order(b)) || a.tool.localeCompare(b.tool),
  );
  return Object.keys(GROUPS)
    .map((group) => ({ group, rows: rows.filter((row) => row.group === group) }))
    .filter((table) => table.rows.length > 0);
}

/** The order of a table's rows. */
export const TEMPERATURE_ORDER = ["cold", "warm", "cached", "registry-cache"];

function order(row) {
  return `${row.workload} ${TEMPERATURE_ORDER.indexOf(row.temperature)} ${row.peer ? 1 : 0}`;
}

/** For a terminal. */
export function plainTables(runs) {
  const lines = [];
  for (const { group, rows } of tables(runs)) {
    const names = COLUMNS.map(([name]) => name.padStart(12)).join("");
    lines.push("", `as ${GROUPS[group]}`.padEnd(44) + names);
    for (const row of rows) {
      const head = `${row.workload} ${row.temperature.padEnd(15)} ${row.tool}`.padEnd(44);
      lines.push(head + COLUMNS.map(([, cell]) => cell(row).padStart(12)).join(""));
    }
  }
  return lines.join("\n");
}

/** Every figure, for docs/performance.md. */
export function markdownTables(runs) {
  const parts = [];
  for (const { group, rows } of tables(runs)) {
    const names = ["", "builder", ...COLUMNS.map(([name]) => name)];
    parts.push(
      `### As ${GROUPS[group]}\n`,
      `| ${names.join(" | ")} |`,
      `| --- | --- |${" ---: |".repeat(COLUMNS.length)}`,
    );
    let last;
    for (const row of rows) {
      const cell = `${row.workload} ${row.temperature}`;
      const tool = row.peer ? row.tool : `**${row.tool}**`;
      const cells = [cell === last ? "" : cell, tool, ...COLUMNS.map(([, text]) => text(row))];
      last = cell;
      parts.push(`| ${cells.join(" | ")} |`);
    }
    parts.push("");
  }
  return `${parts.join("\n")}\n`;
}
