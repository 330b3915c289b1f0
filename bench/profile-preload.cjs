// Loaded into each process and thread that bench/profile.mjs looks at: writes a CPU profile when it ends.
const { writeFileSync } = require("node:fs");
const { Session } = require("node:inspector");
const { threadId } = require("node:worker_threads");

const dir = process.env.TSBUILD_PROFILES;
if (dir !== undefined) {
  const session = new Session();
  session.connect();
  session.post("Profiler.enable");
  session.post("Profiler.setSamplingInterval", { interval: 500 });
  session.post("Profiler.start");
  const pid = process.pid;
  process.on("exit", () => {
    session.post("Profiler.stop", (error, result) => {
      const name = `${pid}-${threadId}-${process.hrtime.bigint()}.cpuprofile`;
      if (error === null) writeFileSync(`${dir}/${name}`, JSON.stringify(result.profile));
    });
  });
}
