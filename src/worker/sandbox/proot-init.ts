// The first process of a step below proot: takes what must not be inherited from the worker, and becomes proot.
import { closeSync, readFileSync, writeSync } from "node:fs";
import { messageOf } from "../../errors.js";
import { loadLibc } from "../linux/libc.js";
import { confine } from "../linux/notify.js";
import { openProcessCalls } from "../linux/process.js";
import { zeroFilter } from "./call-filter.js";
import { OPEN_FILES } from "./execute.js";
import { REPORT_FD } from "./init-protocol.js";
import { LISTENER_FD, STARTER_FD } from "./proot-starter.js";
import { LISTENER_SOURCE, type ProotFailure, type ProotOrder } from "./proot-order.js";
import { RESOURCES } from "./types.js";

function main(): void {
  const libc = loadLibc();
  const calls = openProcessCalls(libc);
  try {
    const { program, argv, env, limits, listens } = JSON.parse(
      readFileSync(0, "utf8"),
    ) as ProotOrder;
    const [end, other] = calls.pipe();
    closeSync(other);
    calls.dup2(end, 0);
    process.umask(0o022);
    calls.limitOpenFiles(OPEN_FILES);
    for (const { name, soft, hard } of limits) calls.setLimit(RESOURCES[name], soft, hard);
    calls.resetSignals();
    calls.keepOnlyStdio();
    // Orphans of the step are proot's children, whoever their parents were.
    calls.adoptOrphans();
    calls.dup2(REPORT_FD, STARTER_FD);
    if (listens) calls.dup2(LISTENER_SOURCE, LISTENER_FD);
    calls.dieWithParent();
    const filter = listens ? zeroFilter() : undefined;
    if (filter !== undefined) confine(libc, filter);
    calls.execve(program, argv, env);
  } catch (error) {
    const failure: ProotFailure = { message: messageOf(error) };
    writeSync(REPORT_FD, JSON.stringify(failure));
  }
}

main();
