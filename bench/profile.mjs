// Where the time of one build goes: CPU profiles of tsbuild's threads, summed by function.
//
//   npm run build && node bench/profile.mjs [--workload W6] [--temperature warm] [--way root-mounted] [--top 15] [--keep DIR]
//
// Wants what bench/run.mjs wants. Builds what comes before the build in its sequence (see plan.mjs) without looking at it.
// Each thread that was sampled is shown: when it ran, and what it did while it was not idle. `(program)` is native code that
// V8 does not name; waiting in a system call is in the function that made it. Not sampled are Node's pool of threads (zlib,
// files) and the worker that runs steps, which gets nothing of our environment: the rest of the processor time.
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as lab from "./lab.mjs";
import { sequence } from "./plan.mjs";
import { findTools, tail } from "./tools.mjs";

const { values: options } = parseArgs({
  options: {
    workload: { type: "string", default: "W6" },
    temperature: { type: "string", default: "warm" },
    way: { type: "string", default: "root-mounted" },
    top: { type: "string", default: "15" },
    keep: { type: "string" },
    tsbuild: { type: "string", default: lab.top },
  },
});
const isOfW7 = options.workload === "W8" || options.workload === "W9";
const source = isOfW7 ? "W7" : options.workload;

const work = lab.workDirectory();
const services = await lab.startServices();
try {
  const profiles = options.keep ?? join(work.path, "profiles");
  mkdirSync(profiles, { recursive: true, mode: 0o777 });
  const { wall, cpu } = await build(profiles);
  const threads = readdirSync(profiles)
    .filter((name) => name.endsWith(".cpuprofile"))
    .map((name) => summarise(name, JSON.parse(readFileSync(join(profiles, name), "utf8"))))
    .toSorted((a, b) => a.start - b.start);
  const sampled = threads.reduce((sum, { busy }) => sum + busy, 0);
  console.log(
    `${options.workload} ${options.temperature} ${options.way}: ${wall.toFixed(2)} s wall, ${cpu.toFixed(2)} s CPU, ` +
      `${(sampled / 1e6).toFixed(2)} s of it sampled (sampling itself makes it slower)`,
  );
  for (const thread of threads) show(thread, threads[0].start);
} finally {
  await services[Symbol.asyncDispose]();
  await work[Symbol.asyncDispose]();
}

/** Builds the sequence up to what is asked for, and that one with profiles. */
async function build(profiles) {
  const app = await lab.application(options.tsbuild);
  const { tools } = await findTools(lab.support, { app, ways: [options.way], peers: [] });
  const [tool] = tools;
  if (tool === undefined) throw new Error(`${options.way} does not run here`);
  const files = (await lab.prepare([source], { ...services, work: work.path }))[source];
  const state = join(work.path, "state");
  const log = join(work.path, "log");
  const { workload, temperature } = options;
  const builds = sequence(source, tool, { workloads: [workload], temperatures: [temperature] });
  for (const [i, one] of builds.entries()) {
    if (one.fresh) await lab.support.removeTree(state);
    mkdirSync(state, { recursive: true });
    const argv = tool.command({
      ...files,
      state,
      registry: services.tap.host,
      destination: `${services.tap.host}/bench/profile-${i}:latest`,
      noCache: one.noCache === true,
      cacheRepo: one.cacheRepo ? `${services.tap.host}/cache/profile` : undefined,
    });
    const isLast = i === builds.length - 1;
    const preload = join(lab.top, "bench/profile-preload.cjs");
    const variables = [`NODE_OPTIONS=--require=${preload}`, `TSBUILD_PROFILES=${profiles}`];
    const result = await lab.measure(isLast ? ["env", ...variables, ...argv] : argv, log);
    if (result.code !== 0) throw new Error(tail(log));
    if (isLast) return result;
  }
  throw new Error(`${workload} has no ${temperature} build`);
}

/** Sums a profile's samples by function; times in microseconds. */
function summarise(name, { nodes, samples, timeDeltas, startTime, endTime }) {
  const byId = new Map(nodes.map((node) => [node.id, node.callFrame]));
  const self = new Map();
  let busy = 0;
  for (const [i, id] of samples.entries()) {
    const { functionName, url, lineNumber } = byId.get(id);
    if (functionName === "(idle)" || functionName === "(root)") continue;
    const file = url.split("/").slice(-2).join("/");
    const what = `${functionName || "(anonymous)"}${url === "" ? "" : ` ${file}:${lineNumber + 1}`}`;
    self.set(what, (self.get(what) ?? 0) + timeDeltas[i]);
    busy += timeDeltas[i];
  }
  return { name, start: startTime, end: endTime, busy, self };
}

function show({ name, start, end, busy, self }, origin) {
  const ms = (us) => (us / 1_000).toFixed(0).padStart(6);
  console.log(
    `\n${name}: from ${ms(start - origin)} to ${ms(end - origin)} ms, busy ${ms(busy)} ms`,
  );
  const top = [...self].toSorted((a, b) => b[1] - a[1]).slice(0, Number(options.top));
  for (const [what, us] of top) console.log(`${ms(us)} ms  ${what}`);
}
