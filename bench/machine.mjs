// Where and when figures were measured.
import { cpus, release, totalmem } from "node:os";
import { median } from "./report.mjs";
import { label } from "./tools.mjs";

/** Processor, memory, kernel, day, and the versions of what was measured: now, and `earlier` for the same figures. */
export function describeMachine(tools, earlier) {
  const [first] = cpus();
  const now = tools.map((tool) => ({
    name: label(tool),
    group: tool.group,
    version: tool.version,
  }));
  const isNow = (tool) => now.some(({ name, group }) => name === tool.name && group === tool.group);
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: `${cpus().length} x ${first?.model.trim() ?? "unknown"}`,
    memory: totalmem(),
    kernel: /^[\d.]*/.exec(release())[0], // what follows is the distribution's or the host's
    node: process.version,
    tools: [...(earlier?.tools ?? []).filter((tool) => !isNow(tool)), ...now],
  };
}

/** The same in one line, with what `node -e 0` takes there: other figures can be judged by that. */
export function machineLine({ date, processor, memory, kernel, node }, calibrations = []) {
  const machine = `${date}: ${processor}, ${Math.round(memory / 2 ** 30)} GiB, Linux ${kernel}, Node ${node}`;
  const starts = calibrations.map((calibration) => calibration.nodeStart);
  if (starts.length === 0) return machine;
  const [least, most] = [Math.min(...starts), Math.max(...starts)].map((value) => value.toFixed(2));
  const range = least === most ? "" : ` (${least} to ${most})`;
  return `${machine}; \`node -e 0\` takes ${median(starts).toFixed(2)} s${range}`;
}

/** What was compared, in one line. */
export function toolsLine({ tools }) {
  const versions = new Map();
  for (const { name, group, version } of tools) {
    const names = versions.get(version) ?? [];
    versions.set(version, [
      ...names,
      `${name}${group === "user" && name !== "tsbuild user" ? " (user)" : ""}`,
    ]);
  }
  return [...versions].map(([version, names]) => `${version}: ${names.join(", ")}`).join("; ");
}
