import { execFile } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { access, constants } from "node:fs/promises";
import { messageOf } from "../../errors.js";
import { hostPlatform } from "../../oci/platform.js";
import type { MountCalls } from "../linux/mount.js";
import { MS } from "../linux/mount.js";
import { emulatorName, PROBE_CODE, probeProgram, registration } from "./machines.js";

/** Programs of another architecture cannot be run, and why. */
export interface CannotRun {
  readonly because: string;
  readonly hint: string;
}

export interface EmulationOptions {
  /** An own directory, for probes and the mount. */
  readonly directory: string;
  /** Where emulators are looked for, as in PATH. */
  readonly path: string;
  readonly mounts: MountCalls;
  /** Told once for each architecture that will be emulated from now on. */
  readonly notice: (message: string) => void;
}

export interface Emulation {
  /**
   * Sees to it that steps of this process can run an architecture's programs: natively, by what the machine has been given
   * for it, or by an emulator that is registered for this process's user namespace alone. Looked into once.
   */
  prepare(architecture: string): Promise<CannotRun | undefined>;
}

const INSTALL = "apt-get install qemu-user-static binfmt-support";
/** The kernel's fixed number of the first user namespace. */
const FIRST_USER_NAMESPACE = "user:[4026531837]";
/** An emulator starts in milliseconds; a machine that swaps takes seconds. */
const PROBE_TIMEOUT_MS = 20_000;
const PROBE_NAME = "probe";

/** Emulation by binfmt_misc, which each user namespace can have for itself since Linux 6.7. */
export function createEmulation(options: EmulationOptions): Emulation {
  const known = new Map<string, Promise<CannotRun | undefined>>();
  let mounted: string | undefined;
  const mount = (): string => {
    if (mounted !== undefined) return mounted;
    const at = `${options.directory}/binfmt`;
    mkdirSync(at, { recursive: true });
    const flags = MS.NOSUID | MS.NODEV | MS.NOEXEC;
    options.mounts.mount("binfmt_misc", at, "binfmt_misc", flags);
    mounted = at;
    return at;
  };
  return {
    prepare: (architecture) => {
      const found = known.get(architecture) ?? prepare(architecture, options, mount);
      known.set(architecture, found);
      return found;
    },
  };
}

/**
 * Whether programs of one of these architectures can only be run by an emulator that is here and that nobody registered. A
 * guess that costs nothing; {@link Emulation.prepare} tries it out.
 */
export async function needsRegistration(
  architectures: readonly string[],
  path: string,
): Promise<boolean> {
  for (const architecture of architectures) {
    const name = emulatorName(architecture);
    if (name === undefined || existsSync(`/proc/sys/fs/binfmt_misc/${name}`)) continue;
    if ((await findEmulator(name, path)) !== undefined) return true;
  }
  return false;
}

async function prepare(
  architecture: string,
  { directory, path, notice }: EmulationOptions,
  mount: () => string,
): Promise<CannotRun | undefined> {
  if (architecture === hostPlatform().architecture) return undefined;
  const name = emulatorName(architecture);
  const program = probeProgram(architecture);
  if (name === undefined || program === undefined) {
    return { because: "no emulator of it is known", hint: "build it on a machine of its own" };
  }
  const root = `${directory}/${architecture}`;
  mkdirSync(root, { recursive: true });
  writeFileSync(`${root}/${PROBE_NAME}`, program, { mode: 0o755 });
  if (await runsIn(root)) return undefined;
  const emulator = await findEmulator(name, path);
  if (emulator === undefined) {
    return { because: `there is no emulator ${name}-static here`, hint: hintFor(name) };
  }
  if (readlinkSync("/proc/self/ns/user") === FIRST_USER_NAMESPACE) {
    const because = `${emulator} is not registered, and this build would do that for the whole machine`;
    return { because, hint: `register it: ${INSTALL}; or build as an ordinary user` };
  }
  const refused = await register(architecture, emulator, mount);
  if (refused !== undefined) return { because: refused, hint: hintFor(name) };
  if (!(await runsIn(root))) {
    return { because: `${emulator} does not run its programs`, hint: hintFor(name) };
  }
  notice(`programs for ${architecture} are emulated by ${emulator}, which is slow`);
  return undefined;
}

function hintFor(name: string): string {
  return `install it on the machine: ${INSTALL}; or have ${name}-static in PATH, with Linux 6.7 or later and a user namespace`;
}

async function register(
  architecture: string,
  emulator: string,
  mount: () => string,
): Promise<string | undefined> {
  try {
    const line = registration(architecture, emulator, await keepsName(emulator));
    writeFileSync(`${mount()}/register`, line ?? "");
    return undefined;
  } catch (error) {
    return `${emulator} cannot be registered: ${messageOf(error)}`;
  }
}

/** As a step would: in a root that has nothing else. */
async function runsIn(root: string): Promise<boolean> {
  const { code } = await exec("chroot", [root, `/${PROBE_NAME}`]);
  return code === PROBE_CODE;
}

async function keepsName(emulator: string): Promise<boolean> {
  const { stdout } = await exec(emulator, ["--version"]);
  return Number(/version (\d+)\./.exec(stdout)?.[1] ?? 0) >= 6;
}

function exec(
  program: string,
  args: readonly string[],
): Promise<{ readonly code: unknown; readonly stdout: string }> {
  return new Promise((resolve) => {
    const options = { timeout: PROBE_TIMEOUT_MS, killSignal: "SIGKILL", cwd: "/" } as const;
    execFile(program, args, options, (error, stdout) =>
      resolve({ code: error === null ? 0 : error.code, stdout }),
    );
  });
}

async function findEmulator(name: string, path: string): Promise<string | undefined> {
  const candidates = path
    .split(":")
    .filter((directory) => directory.startsWith("/"))
    .flatMap((directory) => [`${directory}/${name}-static`, `${directory}/${name}`]);
  for (const candidate of candidates) {
    // A colon ends the name in a registration.
    if (candidate.includes(":")) continue;
    const exists = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (exists && isStatic(candidate)) return candidate;
  }
  return undefined;
}

const PT_INTERP = 3;
/** Bytes; headers of segments stand at a program's beginning. */
const HEADERS = 4096;

/** Whether a program of this machine needs no loader: an image would not have its. */
function isStatic(file: string): boolean {
  const bytes = Buffer.alloc(HEADERS);
  const fd = openSync(file, "r");
  try {
    readSync(fd, bytes, 0, HEADERS, 0);
  } finally {
    closeSync(fd);
  }
  const [at, size, count] = [
    bytes.readBigUInt64LE(32),
    bytes.readUInt16LE(54),
    bytes.readUInt16LE(56),
  ];
  for (let index = 0; index < count; index++) {
    const segment = Number(at) + index * size;
    if (segment + 4 > HEADERS) return false;
    if (bytes.readUInt32LE(segment) === PT_INTERP) return false;
  }
  return count > 0;
}
