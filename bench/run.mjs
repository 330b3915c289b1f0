// Measures tsbuild beside every peer that this machine has, interleaved; see bench/README.md and docs/performance.md.
//
//   npm run build && npm run bench -- [--workloads W1,W6] [--rounds 3] …      (--help lists the options)
//
// Wants root, python3, skopeo, mmdebstrap and Debian's docker-registry.
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { calibrate } from "./calibrate.mjs";
import { chart } from "./chart.mjs";
import { expectation, inspect, ownBytes, verify } from "./images.mjs";
import * as lab from "./lab.mjs";
import { describeMachine } from "./machine.mjs";
import { parseOptions, USAGE } from "./options.mjs";
import { sequence, sourcesOf } from "./plan.mjs";
import { isGood, plainTables } from "./report.mjs";
import { markdownReport, replaceBetweenMarkers } from "./summary.mjs";
import { findTools, label, tail } from "./tools.mjs";
import { changeOneSource } from "./workloads/generate.mjs";

const { support } = lab;
process.exitCode = await main(parseOptions(process.argv.slice(2)));

async function main(options) {
  if (options.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const earlier =
    (options.append || options.report) && existsSync(options.json)
      ? JSON.parse(readFileSync(options.json, "utf8"))
      : { runs: [] };
  if (options.report && earlier.machine === undefined) {
    throw new Error(`${options.json}: no runs were kept there`);
  }
  const result = options.report ? earlier : await measureAll(options, earlier);
  console.log(plainTables(result.runs));
  if (options.markdown !== undefined) writeFileSync(options.markdown, markdownReport(result));
  if (options.markdownInto !== undefined) {
    const page = readFileSync(options.markdownInto, "utf8");
    writeFileSync(options.markdownInto, replaceBetweenMarkers(page, markdownReport(result)));
  }
  if (options.svg !== undefined) writeFileSync(options.svg, chart(result));
  const bad = result.runs.filter((run) => !isGood(run));
  for (const run of bad) {
    console.error(`${run.workload} ${run.temperature} ${run.tool}: ${run.wrong ?? "failed"}`);
  }
  return bad.length === 0 ? 0 : 1;
}

/** Answers all runs, those in `earlier` first. */
async function measureAll(options, earlier) {
  const result = { machine: earlier.machine, calibrations: [...(earlier.calibrations ?? [])] };
  result.runs = [...earlier.runs];
  // Rounds go on where the earlier ones ended: what was not interleaved is not compared.
  const last = Math.max(-1, ...earlier.runs.map((run) => run.round));
  const first = options.resume && last >= 0 ? last : last + 1;
  const user = options.ways.includes("user") ? await support.userWithSubIds() : undefined;
  const app = await lab.application(options.tsbuild ?? lab.top, user);
  const work = lab.workDirectory();
  const services = await lab.startServices();
  try {
    const { tools, skipped } = await findTools(support, { ...options, app, user });
    for (const tool of tools) console.log(`${label(tool)} (${tool.group}): ${tool.version}`);
    for (const line of skipped) console.log(`without ${line}`);
    result.machine = describeMachine(tools, earlier.machine);
    const sources = sourcesOf(options.workloads);
    const files = await lab.prepare(sources, { ...services, ...options, work: work.path });
    console.log(`the files are ready after ${Math.round(process.uptime())} s`);
    const clock = startClock(options.minutes);
    const lane = { options, services, app, work: work.path, user, filled: new Set(), first, clock };
    for (let round = first; round < first + options.rounds; round++) {
      await measureRound(round, { result, tools, sources, files, lane });
    }
    keep(options.json, result);
    return result;
  } finally {
    await services[Symbol.asyncDispose]();
    await work[Symbol.asyncDispose]();
    await app[Symbol.asyncDispose]();
  }
}

/** Ends after so many minutes, or when this process is told to end. */
function startClock(minutes) {
  const began = Date.now();
  let end = began + minutes * 60_000;
  for (const name of ["SIGINT", "SIGTERM"]) {
    process.on(name, () => {
      console.log(`${name}: no build is begun any more`);
      end = 0;
    });
  }
  return { isOver: () => Date.now() > end, seconds: () => (Date.now() - began) / 1_000 };
}

async function measureRound(round, { result, tools, sources, files, lane }) {
  const { options, clock } = lane;
  const missed = [];
  let isCalibrated = false;
  for (const source of sources) {
    // Another order each round: what one run leaves in the page cache favours no tool.
    for (const tool of tools.map((_, i) => tools[(i + round) % tools.length])) {
      const wanted = sequence(source, tool, options).filter((build) => build.measured);
      const isOfIt = (run) =>
        run.round === round &&
        run.tool === label(tool) &&
        run.group === tool.group &&
        wanted.some((one) => one.workload === run.workload && one.temperature === run.temperature);
      if (result.runs.filter((run) => isOfIt(run) && isGood(run)).length >= wanted.length) continue;
      if (clock.isOver()) {
        missed.push(`${source} ${label(tool)}`);
        continue;
      }
      if (!isCalibrated) result.calibrations.push({ round, ...calibrate(lane.work, lane.app) });
      isCalibrated = true;
      const runs = [];
      try {
        await runSequence(source, files[source], tool, round, lane, runs);
      } catch (error) {
        if (!clock.isOver()) throw error;
        console.error(error); // the signal has ended the registry as well
      }
      result.runs = [...result.runs.filter((run) => !isOfIt(run)), ...runs];
      keep(options.json, result);
    }
  }
  if (missed.length > 0) console.log(`round ${round}, no time for: ${missed.join(", ")}`);
}

function keep(path, result) {
  if (path === undefined) return;
  writeFileSync(`${path}.new`, `${JSON.stringify(result, null, 1)}\n`);
  renameSync(`${path}.new`, path);
}

/** Adds to `runs` what one tool's builds of a workload's files took. */
async function runSequence(source, files, tool, round, lane, runs) {
  const { options, work, user, filled, clock } = lane;
  const name = `${source}-${label(tool).replaceAll(" ", "-")}-${tool.group}`;
  const builds = sequence(source, tool, { ...options, filled: filled.has(name) });
  const context =
    source === "W7" ? lab.copyContext(files.context, join(work, "context")) : files.context;
  const state = join(work, "state");
  try {
    for (const [i, build] of builds.entries()) {
      if (clock.isOver()) {
        console.log(`round ${round}, no time for the rest of ${source} ${label(tool)}`);
        break;
      }
      if (build.fresh) await freshState(state, tool, user);
      if (build.change) changeOneSource(context, `${label(tool)} ${round}`);
      else if (source === "W7") restore(files.context, context);
      const repository = `bench/${name.toLowerCase()}-${round}-${i}`;
      const run = await buildOnce(build, { ...files, context, state, repository, name }, tool, {
        ...lane,
        round,
      });
      if (build.measured || run.code !== 0) runs.push(run);
      if (run.code !== 0) break;
      if (build.cacheRepo && !build.measured) filled.add(name);
    }
  } finally {
    await support.removeTree(state);
    if (source === "W7") await support.removeTree(context);
  }
}

async function freshState(state, tool, user) {
  await support.removeTree(state);
  mkdirSync(state, { recursive: true });
  if (tool.group === "user") chownSync(state, user.uid, user.gid);
}

function restore(from, context) {
  const name = "src/m42.js";
  const text = readFileSync(join(from, name), "utf8");
  if (readFileSync(join(context, name), "utf8") !== text) writeFileSync(join(context, name), text);
}

async function buildOnce(build, files, tool, { options, services, work, round, first, clock }) {
  const { registry, tap, traffic } = services;
  const log = join(work, "log");
  const argv = tool.command({
    ...files,
    registry: tap.host,
    destination: `${tap.host}/${files.repository}:latest`,
    noCache: build.noCache === true,
    cacheRepo: build.cacheRepo ? `${tap.host}/cache/${files.name.toLowerCase()}` : undefined,
  });
  await support.run("sync", []);
  const before = await traffic();
  const result = await lab.measure(argv, log);
  const after = await traffic();
  const run = {
    workload: build.workload,
    temperature: build.temperature,
    tool: label(tool),
    peer: tool.peer,
    group: tool.group,
    round,
    ...result,
    ...Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]])),
  };
  progress(build, run, clock);
  if (run.code !== 0) {
    console.error(tail(log));
    return run;
  }
  const verdict = await judge(build, files, { options, registry, work, round, first, tool });
  if (verdict.wrong !== undefined) console.error(`a wrong image: ${verdict.wrong}`);
  return { ...run, ...verdict };
}

/** What the registry has of the image: the size of its own layers, and whether anything in it is wrong. */
async function judge(build, files, { options, registry, work, round, first, tool }) {
  let compressed;
  try {
    const image = await inspect(registry.host, files.repository);
    compressed = ownBytes(image, files.base);
    if (!options.verify) return { compressed };
    const expected = expectation(build.workload, {
      context: files.context,
      base: files.base,
      short: options.short,
      round: `${label(tool)} ${round}`,
    });
    const large = build.workload === "W4" && !options.short;
    // Reading every file of an image takes as long as a build: once for each tool is enough.
    const deep = round === first && (options.short || (!large && build.temperature !== "warm"));
    const where = { host: registry.host, repository: files.repository, dir: work, deep };
    await verify(image, expected, where);
    return { compressed };
  } catch (error) {
    return { compressed, wrong: error.message };
  }
}

function progress(build, { tool, round, code, wall, cpu }, clock) {
  const what = build.measured ? "" : " (prepares)";
  const figures = `${wall.toFixed(2)} s wall, ${cpu.toFixed(2)} s CPU`;
  const at = `${String(Math.round(clock.seconds())).padStart(5)} s, round ${round}`;
  console.log(
    `${at}: ${build.workload} ${build.temperature} ${tool}${what}: ${code === 0 ? figures : `ended with ${code}`}`,
  );
}
