// What is built in which order. One sequence belongs to one workload's files and one tool: the state that the first build
// leaves is what the next ones find. W8 is W7's files again, W9 is W7's after a change.

/** What a cache answers for is W8 where the files are W7's. */
function whenCached(source) {
  return source === "W7" ? "W8" : source;
}

/** The files that these workloads need, in the order in which they were named. */
export function sourcesOf(workloads) {
  return [...new Set(workloads.map((name) => (name === "W8" || name === "W9" ? "W7" : name)))];
}

/**
 * The builds of one tool, in their order. `fresh`: with no state; `measured`: else it only prepares; `change`: after one
 * source file was changed; `noCache`: with what earlier builds left, but each step anew; `cacheRepo`: with the registry's
 * cache, which the first such build fills.
 */
export function sequence(source, tool, { workloads, temperatures, filled }) {
  const wanted = (workload, temperature) =>
    workloads.includes(workload) &&
    temperatures.includes(temperature) &&
    tool.temperatures.includes(temperature);
  const again = whenCached(source);
  const local = [
    { workload: again, temperature: "cached" },
    ...(source === "W7" ? [{ workload: "W9", temperature: "cached", change: true }] : []),
    { workload: source, temperature: "warm", noCache: true },
  ].filter((build) => wanted(build.workload, build.temperature));
  const remote = [
    { workload: again, temperature: "registry-cache", fresh: true, cacheRepo: true },
    ...(source === "W7"
      ? [
          {
            workload: "W9",
            temperature: "registry-cache",
            fresh: true,
            cacheRepo: true,
            change: true,
          },
        ]
      : []),
  ].filter((build) => wanted(build.workload, build.temperature));
  const cold = { workload: source, temperature: "cold", fresh: true };
  const measuresCold = wanted(source, "cold");
  const builds = [];
  if (measuresCold || local.length > 0) builds.push({ ...cold, measured: measuresCold });
  builds.push(...local.map((build) => ({ ...build, measured: true })));
  if (remote.length > 0) {
    if (!filled) builds.push({ ...cold, cacheRepo: true, measured: false });
    builds.push(...remote.map((build) => ({ ...build, measured: true })));
  }
  return builds;
}
