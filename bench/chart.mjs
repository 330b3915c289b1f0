// Wall time by that of the fastest peer, as SVG: a panel for each temperature, a group of bars for each workload, of which
// the peer's is always 1 long. Its colours follow those of the reader's system.
import { machineLine } from "./machine.mjs";
import { fixed, summarise, TEMPERATURE_ORDER } from "./report.mjs";

const WIDTH = 960;
const MARGIN = 24;
const HEAD = 112;
const COLUMN_GAP = 28;
const COLUMN = (WIDTH - 2 * MARGIN - COLUMN_GAP) / 2;
const NAME = 30; // left of the bars
const FIGURES = 118; // right of the longest bar
const ROW = 13;
const BAR = 10;
const GROUP_GAP = 11;
const PANEL_HEAD = 40;
const PANEL_FOOT = 26;
/** Longer bars are cut, and say so. */
const MOST = 1.5;
const TICKS = [0, 0.5, 1, 1.5];

const TITLES = {
  cold: "cold: nothing is known",
  warm: "warm: every step is made anew",
  cached: "cached: nothing, or one file, has changed",
  "registry-cache": "only a registry's cache",
};
const STYLE = `
  text { font-family: "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #1f2328; }
  .halo { stroke: #ffffff; stroke-width: 3; stroke-linejoin: round; paint-order: stroke; }
  .quiet { fill: #656d76; }
  .paper { fill: #ffffff; stroke: #d0d7de; }
  .grid { stroke: #d8dee4; }
  .one { stroke: #656d76; stroke-dasharray: 3 3; }
  .peer { fill: #afb8c1; }
  .root-mounted { fill: #0969da; }
  .root-unpacked { fill: #54aeff; }
  .user { fill: #1a7f37; }`;
const DARK = `
    text { fill: #e6edf3; }
    .halo { stroke: #0d1117; }
    .quiet { fill: #8d96a0; }
    .paper { fill: #0d1117; stroke: #30363d; }
    .grid { stroke: #262c36; }
    .one { stroke: #8d96a0; }
    .peer { fill: #484f58; }
    .root-mounted { fill: #4493f8; }
    .root-unpacked { fill: #1f6feb; fill-opacity: 0.55; }
    .user { fill: #3fb950; }`;

/** `dark`: for whom the reader's system says nothing. */
export function chart({ runs, machine, calibrations }, { dark = false } = {}) {
  const rows = summarise(runs);
  const panels = TEMPERATURE_ORDER.map((temperature) => panelOf(rows, temperature)).filter(
    ({ groups }) => groups.length > 0,
  );
  const body = [];
  let y = HEAD;
  for (let i = 0; i < panels.length; i += 2) {
    const pair = panels.slice(i, i + 2);
    pair.forEach((panel, column) => {
      body.push(...draw(panel, MARGIN + column * (COLUMN + COLUMN_GAP), y));
    });
    y += Math.max(...pair.map(heightOf)) + 14;
  }
  const height = y + 4;
  const title = "Wall time of tsbuild, by that of the fastest other builder";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    `<title>${title}</title>`,
    `<style>${STYLE}\n  @media (prefers-color-scheme: dark) {${DARK}\n  }${dark ? DARK : ""}\n</style>`,
    `<rect class="paper" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>`,
    text(MARGIN, 34, title, { size: 18, bold: true }),
    text(MARGIN, 54, machineLine(machine, calibrations).replaceAll("`", ""), { quiet: true }),
    ...legend(waysOf(rows), peerNames(rows)),
    ...body,
    "</svg>\n",
  ].join("\n");
}

function waysOf(rows) {
  const ways = new Set(rows.filter((row) => !row.peer).map(classOf));
  return [...ways].sort((a, b) => a.localeCompare(b));
}

function peerNames(rows) {
  const names = [...new Set(rows.filter((row) => row.peer).map(nameOfPeer))];
  names.sort((a, b) => a.localeCompare(b));
  return names.length === 1 ? names[0] : `the fastest of ${names.join(", ")}`;
}

function classOf(row) {
  return row.peer ? "peer" : row.tool.replace("tsbuild ", "");
}

/** The workloads of a temperature that some peer has built, each with its bars. */
function panelOf(rows, temperature) {
  const here = rows.filter((row) => row.temperature === temperature);
  const names = [...new Set(here.map((row) => row.workload))].sort((a, b) => a.localeCompare(b));
  const groups = names.flatMap((name) => {
    const bars = ["root", "user"].flatMap((group) =>
      barsOf(here.filter((row) => row.workload === name && row.group === group)),
    );
    return bars.length === 0 ? [] : [{ name, bars }];
  });
  return { temperature, groups };
}

/** The fastest peer's bar, and those that are compared with it. */
function barsOf(rows) {
  const own = rows.filter((row) => !row.peer && row.wallRatio !== undefined);
  if (own.length === 0) return [];
  own.sort((a, b) => a.tool.localeCompare(b.tool));
  const [peer] = rows.filter((row) => row.peer).sort((a, b) => a.wall - b.wall);
  return [...own, { ...peer, wallRatio: 1 }];
}

function heightOf({ groups }) {
  const bars = groups.reduce((sum, group) => sum + group.bars.length * ROW + GROUP_GAP, 0);
  return PANEL_HEAD + bars + PANEL_FOOT;
}

function draw(panel, left, top) {
  const x0 = left + NAME;
  const scale = (value) => x0 + (Math.min(value, MOST) / MOST) * (COLUMN - NAME - FIGURES);
  const bottom = top + heightOf(panel) - PANEL_FOOT;
  const lines = [text(left, top + 14, TITLES[panel.temperature], { size: 13, bold: true })];
  for (const tick of TICKS) {
    const x = scale(tick).toFixed(1);
    const kind = tick === 1 ? "one" : "grid";
    lines.push(
      `<line class="${kind}" x1="${x}" x2="${x}" y1="${top + PANEL_HEAD - 10}" y2="${bottom}"/>`,
      text(x, bottom + 14, String(tick), { anchor: "middle", quiet: true, size: 10 }),
    );
  }
  let y = top + PANEL_HEAD - 4;
  for (const { name, bars } of panel.groups) {
    lines.push(text(left, y + (bars.length * ROW) / 2 + 4, name, { bold: true }));
    for (const row of bars) {
      lines.push(...bar(row, x0, y, scale));
      y += ROW;
    }
    y += GROUP_GAP;
  }
  return lines;
}

function bar(row, x0, y, scale) {
  const end = scale(row.wallRatio);
  const cut = row.wallRatio > MOST ? " \u203a" : "";
  const width = Math.max(1.5, end - x0).toFixed(1);
  const wall = `${fixed(row.wall, row.wall < 10 ? 2 : 1)} s`;
  const base = y + BAR - 1;
  return [
    `<rect class="${classOf(row)}" x="${x0}" y="${y}" width="${width}" height="${BAR}" rx="1.5"/>`,
    row.peer
      ? text(end + 6, base, `${wall} ${nameOfPeer(row)}`, { size: 10, quiet: true })
      : `<text x="${(end + 6).toFixed(1)}" y="${base}" font-size="10" class="halo"><tspan font-weight="bold">${row.wallRatio.toFixed(2)}${cut}</tspan>` +
        `<tspan class="quiet" dx="5">${wall}</tspan></text>`,
  ];
}

function nameOfPeer({ tool, group }) {
  return group === "user" ? `${tool} (user)` : tool;
}

function legend(ways, peers) {
  const names = [...ways.map((way) => [way, `tsbuild, ${way}`]), ["peer", `1: ${peers}`]];
  let x = MARGIN;
  return names.flatMap(([kind, label]) => {
    const here = x;
    x += 36 + label.length * 6.2;
    return [
      `<rect class="${kind}" x="${here}" y="72" width="12" height="12" rx="2"/>`,
      text(here + 18, 82, label, { size: 12 }),
    ];
  });
}

function text(x, y, content, { anchor = "start", size = 11, bold = false, quiet = false } = {}) {
  const safe = String(content).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const at = [x, y].map((value) => Number(value).toFixed(1));
  const weight = bold ? ' font-weight="bold"' : "";
  const kind = quiet ? ' class="quiet"' : "";
  return `<text x="${at[0]}" y="${at[1]}" text-anchor="${anchor}" font-size="${size}"${weight}${kind}>${safe}</text>`;
}
