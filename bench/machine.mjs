// Where and when figures were measured.
import { cpus, release, totalmem } from "node:os";
import { label } from "./tools.mjs";

/** Processor, memory, kernel, day, and the versions of what was measured. */
export function describeMachine(tools) {
  const [first] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: `${cpus().length} x ${first?.model.trim() ?? "unknown"}`,
    memory: totalmem(),
    kernel: release(),
    node: process.version,
    tools: tools.map((tool) => ({ name: label(tool), group: tool.group, version: tool.version })),
  };
}

/** The same in one line. */
export function machineLine({ date, processor, memory, kernel, node }) {
  return `${date}: ${processor}, ${Math.round(memory / 2 ** 30)} GiB, Linux ${kernel}, Node ${node}`;
}
