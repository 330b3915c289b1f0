// Wall time by that of the fastest peer, on a logarithmic axis, as SVG.
import { machineLine } from "./machine.mjs";
import { summarise } from "./report.mjs";

const COLOURS = ["#1f6f8b", "#7fb069", "#e08e45"];
const WIDTH = 860;
const LEFT = 170;
const RIGHT = 130;
const TOP = 84;
const BAR = 11;
const GAP = 12;
const LEAST = 0.01;
const MOST = 4;

/** One group of bars for each workload and temperature, one bar for each way that tsbuild ran. */
export function chart(runs, machine) {
  const rows = summarise(runs).filter((row) => !row.peer && row.wallRatio !== undefined);
  const tools = [...new Set(rows.map((row) => row.tool))].sort((a, b) => a.localeCompare(b));
  const keys = [...new Set(rows.map((row) => `${row.workload} ${row.temperature}`))].sort((a, b) =>
    a.localeCompare(b),
  );
  const body = [];
  let y = TOP;
  for (const key of keys) {
    const own = rows.filter((row) => `${row.workload} ${row.temperature}` === key);
    own.sort((a, b) => a.tool.localeCompare(b.tool));
    const middle = y + (own.length * BAR) / 2 + 4;
    body.push(text(LEFT - 10, middle, key, { anchor: "end" }));
    for (const row of own) {
      body.push(bar(row, y, COLOURS[tools.indexOf(row.tool) % COLOURS.length]));
      y += BAR;
    }
    y += GAP;
  }
  const height = y + 40;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(16, 24, "Wall time of tsbuild by the fastest peer's (less is faster)", { size: 15 }),
    text(16, 42, machineLine(machine), { fill: "#666666" }),
    ...legend(tools),
    ...axis(y),
    ...body,
    "</svg>\n",
  ].join("\n");
}

function bar(row, y, fill) {
  const ratio = Math.min(MOST, Math.max(LEAST, row.wallRatio));
  const width = Math.max(1, scale(ratio) - LEFT).toFixed(1);
  const wall = row.wall < 1 ? row.wall.toFixed(2) : row.wall.toFixed(1);
  const label = `${row.wallRatio.toFixed(2)} (${wall} s)`;
  return (
    `<rect x="${LEFT}" y="${y}" width="${width}" height="${BAR - 2}" fill="${fill}"/>` +
    text(scale(ratio) + 5, y + BAR - 3, label, { size: 9 })
  );
}

function scale(ratio) {
  const share = Math.log(ratio / LEAST) / Math.log(MOST / LEAST);
  return LEFT + share * (WIDTH - LEFT - RIGHT);
}

function axis(bottom) {
  return [0.01, 0.1, 0.5, 1, 2, 4].flatMap((ratio) => {
    const x = scale(ratio).toFixed(1);
    const strong = ratio === 1 ? ' stroke="#333333"' : ' stroke="#cccccc" stroke-dasharray="3 3"';
    return [
      `<line x1="${x}" x2="${x}" y1="${TOP - 6}" y2="${bottom}"${strong}/>`,
      text(Number(x), bottom + 16, ratio === 1 ? "1 (peer)" : String(ratio), { anchor: "middle" }),
    ];
  });
}

function legend(tools) {
  return tools.flatMap((tool, i) => {
    const x = 16 + i * 190;
    return [
      `<rect x="${x}" y="54" width="12" height="12" fill="${COLOURS[i % COLOURS.length]}"/>`,
      text(x + 18, 64, tool, {}),
    ];
  });
}

function text(x, y, content, { anchor = "start", size = 11, fill = "#222222" }) {
  const safe = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}" fill="${fill}">${safe}</text>`;
}
