// The first process of a step's namespaces. It is started ahead of time and waits; told what to run, it mounts the
// step's root, gives up its privileges and becomes the command. Synchronous throughout: namespaces, root and
// credentials are of this thread alone until execve makes it the only one.
import { readSync, writeSync } from "node:fs";
import { messageOf, TsbuildError } from "../../errors.js";
import { openCredentialCalls } from "../linux/credentials.js";
import { hideProcess } from "../linux/dumpable.js";
import { openFileCalls } from "../linux/files.js";
import { loadLibc } from "../linux/libc.js";
import { openMountCalls } from "../linux/mount.js";
import { bringUpLoopback } from "../linux/network.js";
import { CLONE, openProcessCalls } from "../linux/process.js";
import { execute } from "./execute.js";
import {
  decodeOrder,
  ORDER_FD,
  REPORT_FD,
  USUAL_HOSTNAME,
  type Order,
  type Report,
} from "./init-protocol.js";
import type { MadePoint } from "./mount-points.js";
import { enterStepRoot } from "./root.js";

function main(): void {
  const libc = loadLibc(process.argv[2]);
  const processCalls = openProcessCalls(libc);
  const mounts = openMountCalls(libc);
  const credentials = openCredentialCalls(libc);
  const files = openFileCalls(libc);
  processCalls.dieWithParent();
  const order = decodeOrder(readExactly);
  // Closed without an order: nobody needs this process.
  if (order === undefined) return;
  // What a pid namespace would do: the command is the one that orphans go to.
  if (order.sharesPids === true) processCalls.adoptOrphans();
  const made: MadePoint[] = [];
  try {
    if (order.here === true) stayHere(order);
    else enterNamespaces(order);
    if (order.here !== true) enterStepRoot(order, { mounts, files }, made);
    execute(order.process, order.singleId, { process: processCalls, credentials }, () =>
      report({ kind: "executing", made }),
    );
  } catch (error) {
    report(failure(error, made));
  }

  function enterNamespaces({ process: { network, hostname } }: Order): void {
    const kinds = CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC;
    processCalls.unshare(network === "none" ? kinds | CLONE.NEWNET : kinds);
    try {
      processCalls.unshare(CLONE.NEWCGROUP);
    } catch {
      // Optional: it only hides names of control groups.
    }
    if (network === "none") bringUpLoopback(libc);
    try {
      processCalls.sethostname(hostname);
    } catch (error) {
      // Podman's seccomp profile leaves it to CAP_SYS_ADMIN outside, and allows all the rest.
      if (hostname !== USUAL_HOSTNAME) throw error;
    }
  }

  /** Only the network can be taken away, where that is allowed. */
  function stayHere({ process: { network } }: Order): void {
    hideProcess(libc);
    if (network !== "none") return;
    try {
      processCalls.unshare(CLONE.NEWNET);
    } catch (error) {
      const because = `this container may not have network namespaces (${messageOf(error)})`;
      throw new TsbuildError("HOST_UNSUPPORTED", `tried to run without a network: ${because}`, {
        hint: "leave --network=none out, or allow the container CAP_SYS_ADMIN",
      });
    }
    bringUpLoopback(libc);
  }
}

function readExactly(length: number): Buffer | undefined {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const count = readSync(ORDER_FD, bytes, at, length - at, null);
    if (count === 0) return undefined;
    at += count;
  }
  return bytes;
}

function report(message: Report): void {
  writeSync(REPORT_FD, `${JSON.stringify(message)}\n`);
}

function failure(error: unknown, made: readonly MadePoint[]): Report {
  if (!(error instanceof TsbuildError)) {
    return {
      kind: "failed",
      code: "HOST_UNSUPPORTED",
      message: `tried to set up a step: ${messageOf(error)}`,
      made,
    };
  }
  const { code, message, hint, exitCode } = error;
  return { kind: "failed", code, message, exitCode, made, ...(hint === undefined ? {} : { hint }) };
}

main();
