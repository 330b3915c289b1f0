import { closeSync, fchownSync, mkdirSync, openSync, readSync } from "node:fs";
import { errnoOf, messageOf, TsbuildError } from "../../errors.js";
import { hostPlatform } from "../../oci/platform.js";
import { architectureOf } from "../emulation/machines.js";
import { DEFAULT_CAPABILITIES, type CredentialCalls } from "../linux/credentials.js";
import type { ProcessCalls } from "../linux/process.js";
import { DEFAULT_PATH, isExecutable, NOT_EXECUTABLE, NOT_FOUND } from "./program.js";
import { RESOURCES, type ResourceLimit, type SandboxSpec } from "./types.js";

/** Enough for a linker, few enough for programs that close every descriptor they could have. */
export const OPEN_FILES = 65_536;
/** Bytes of a `#!` line that the kernel looks at, and how many such scripts may run one another. */
const SCRIPT_LINE = 256;
const SCRIPTS = 4;

export interface ExecuteCalls {
  readonly process: ProcessCalls;
  readonly credentials: CredentialCalls;
}

/**
 * Becomes the step's command, inside the root that was entered: `ready` is called when only execve is left.
 * @throws TsbuildError RUN_FAILED, HOST_UNSUPPORTED
 */
export function execute(
  spec: SandboxSpec,
  singleId: boolean,
  calls: ExecuteCalls,
  ready: () => void,
): never {
  closeInput(calls.process);
  process.umask(0o022);
  mkdirSync(spec.cwd, { recursive: true, mode: 0o755 });
  const isInside = enter(spec.cwd);
  calls.process.limitOpenFiles(OPEN_FILES);
  for (const limit of spec.limits ?? []) setLimit(limit, calls.process);
  becomeUser(spec, singleId, calls.credentials);
  // The user may have access where root, without CAP_DAC_READ_SEARCH, has none.
  if (!isInside && !enter(spec.cwd)) {
    throw failed(spec, NOT_EXECUTABLE, `chdir ${spec.cwd}: permission denied`);
  }
  const program = findProgram(spec);
  calls.process.resetSignals();
  calls.process.keepOnlyStdio();
  // After the change of user, which would undo it.
  calls.process.dieWithParent();
  ready();
  try {
    const env = Object.entries(spec.env).map(([name, value]) => `${name}=${value}`);
    return calls.process.execve(program, spec.argv, env);
  } catch (error) {
    refuseForeign(program, spec, error);
    const code = errnoOf(error) === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE;
    const because = messageOf(error).replace(/^execve: /, "");
    throw failed(spec, code, `exec: "${program}": ${because}`, error);
  }
}

/** A pipe that has ended, as BuildKit gives one: some programs read their input only if it is no terminal and no device. */
function closeInput(calls: ProcessCalls): void {
  const [end, other] = calls.pipe();
  closeSync(other);
  if (end === 0) return;
  calls.dup2(end, 0);
  closeSync(end);
}

/** "exec format error" tells nobody that the program is for another machine. */
function refuseForeign(program: string, { cannotRun, argv }: SandboxSpec, cause: unknown): void {
  const own = hostPlatform().architecture;
  const architecture = architectureOfFile(program);
  if (architecture === undefined || architecture === own) return;
  const because =
    cannotRun?.because ?? `the image says that it is for ${own}, so no emulator was looked for`;
  const hint = cannotRun?.hint ?? `have an image whose programs are for ${own}`;
  const what = `"${program}" is a program for ${architecture}, and this machine is ${own}`;
  throw new TsbuildError("RUN_FAILED", `tried to run ${argv[0]}: ${what}: ${because}`, {
    exitCode: NOT_EXECUTABLE,
    hint,
    cause,
  });
}

/** Of the program itself, or of what its `#!` names. Other files are nobody's: `undefined`. */
function architectureOfFile(file: string, scripts = SCRIPTS): string | undefined {
  const head = readHead(file);
  if (head === undefined) return undefined;
  const [, interpreter] = /^#![ \t]*([^ \t\n]+)/.exec(head.toString("latin1")) ?? [];
  if (interpreter === undefined) return architectureOf(head);
  return scripts > 0 ? architectureOfFile(interpreter, scripts - 1) : undefined;
}

function readHead(file: string): Buffer | undefined {
  try {
    const bytes = Buffer.alloc(SCRIPT_LINE);
    const fd = openSync(file, "r");
    try {
      return bytes.subarray(0, readSync(fd, bytes, 0, SCRIPT_LINE, 0));
    } finally {
      closeSync(fd);
    }
  } catch {
    // It may be run and not read, or be gone.
    return undefined;
  }
}

function enter(directory: string): boolean {
  try {
    process.chdir(directory);
    return true;
  } catch (error) {
    if (errnoOf(error) === "EACCES") return false;
    throw error;
  }
}

function becomeUser(spec: SandboxSpec, singleId: boolean, calls: CredentialCalls): void {
  const { uid, gid } = spec;
  if (singleId && (uid !== 0 || gid !== 0)) {
    throw new TsbuildError("HOST_UNSUPPORTED", `tried to run as ${uid}:${gid}: only 0:0 exists`, {
      hint: "this host maps one user id only; give this user subordinate ids in /etc/subuid and /etc/subgid, and install newuidmap",
    });
  }
  if (uid !== 0) givePipes(uid, gid);
  const insecure = spec.insecure === true;
  if (!insecure) calls.boundCapabilities(DEFAULT_CAPABILITIES);
  // Such a namespace denies setgroups for good; all groups are the same one there.
  if (!singleId) calls.setgroups(spec.groups);
  if (insecure) calls.becomeWithAll(uid, gid);
  else {
    calls.become(uid, gid);
    calls.clearInheritable();
  }
}

/** Before the user changes: raising a hard limit takes a capability, and of the host at that. */
function setLimit({ name, soft, hard }: ResourceLimit, calls: ProcessCalls): void {
  try {
    calls.setLimit(RESOURCES[name], soft, hard);
  } catch (error) {
    throw new TsbuildError(
      "HOST_UNSUPPORTED",
      `tried to set the ulimit ${name}=${soft}:${hard}: ${messageOf(error)}`,
      { cause: error, hint: "an ordinary user cannot raise a hard limit: ulimit -H -a shows them" },
    );
  }
}

/** Else the user could use the pipes but not open /dev/stdin and /dev/stdout. */
function givePipes(uid: number, gid: number): void {
  for (const fd of [0, 1, 2]) fchownSync(fd, uid, gid);
}

function findProgram(spec: SandboxSpec): string {
  const [name] = spec.argv;
  if (name.includes("/")) return name;
  const path = spec.env["PATH"] ?? DEFAULT_PATH;
  for (const directory of path.split(":")) {
    const candidate = `${directory === "" ? "." : directory}/${name}`;
    if (isExecutable(candidate)) return candidate;
  }
  throw failed(spec, NOT_FOUND, `exec: "${name}": executable file not found in $PATH`);
}

function failed(
  spec: SandboxSpec,
  exitCode: number,
  because: string,
  cause?: unknown,
): TsbuildError {
  const options = cause === undefined ? { exitCode } : { exitCode, cause };
  return new TsbuildError("RUN_FAILED", `tried to run ${spec.argv[0]}: ${because}`, options);
}
