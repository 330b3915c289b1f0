import { runScript } from "../../dockerfile/index.js";
import type { Run } from "../../dockerfile/types.js";
import { constants } from "node:os";
import { TsbuildError } from "../../errors.js";
import { normalizePlatform } from "../../oci/platform.js";
import type { SealedLayer } from "../../layer/types.js";
import type { ExitStatus, StepMount } from "../../worker/sandbox/types.js";
import type { StepSpec } from "../../worker/types.js";
import { rightsOf, type StepRights } from "../entitlements.js";
import { StepFailure } from "../locate-error.js";
import { expandMounts, openMounts, parentsFirst, type StepMounts } from "../run-mounts.js";
import type { Effect, StageState, Tools } from "../types.js";
import { resolveUser } from "../user.js";
import { shellOf } from "./metadata.js";
import { runInputs } from "./run-inputs.js";
import { DEFAULT_PATH } from "../state.js";

/** BuildKit's name for the machine that a step sees. */
const HOSTNAME = "buildkitsandbox";
const PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"] as const;
const SIGNAL_BASE = 128;
const NOT_QUITE_INSECURE =
  "security.insecure: as an ordinary user builds, the step is root of its user namespace only; devices, modules and the host's limits stay out of its reach";

export async function run(instruction: Run, state: StageState, tools: Tools): Promise<Effect> {
  const rights = await rightsOf(instruction, tools);
  const { argv, mounts: script } = commandLine(instruction, state);
  const expanded = expandMounts(instruction, state, tools);
  return {
    state,
    history: `RUN ${[...argPrefix(state), ...argv].join(" ")} # buildkit`,
    inputs: (sources) =>
      runInputs({ argv, scripts: texts(script), rights, mounts: expanded }, state, tools, sources),
    layer: async () => {
      const opened = await openMounts(expanded, state, tools);
      const devices = rights.devices.mounts.map((mount) => ({ kind: "bind", ...mount }) as const);
      const mounts = [...devices, ...parentsFirst([...opened.mounts, ...script])];
      const env = new Map([...opened.env, ...rights.devices.env]);
      sayWhatLacks(rights, tools);
      return execute(rights, argv, { env, mounts }, state, tools);
    },
  };
}

function commandLine(
  instruction: Run,
  state: StageState,
): { readonly argv: readonly string[]; readonly mounts: readonly StepMount[] } {
  const script = runScript(instruction);
  if (script.kind === "exec") return { argv: script.argv, mounts: [] };
  const shell = shellOf(state.image.config);
  if (script.kind === "shell") return { argv: [...shell, script.script], mounts: [] };
  const target = `/dev/pipes/${script.name}`;
  const content = new TextEncoder().encode(script.content);
  return {
    argv: [...shell, target],
    mounts: [{ kind: "file", target, content, mode: 0o755, uid: 0, gid: 0 }],
  };
}

function texts(mounts: readonly StepMount[]): readonly string[] {
  return mounts.flatMap((mount) =>
    mount.kind === "file" ? [new TextDecoder().decode(mount.content)] : [],
  );
}

/** `|N name=value …`: the declared ARGs, each at the place of its first declaration with its last value. */
function argPrefix(state: StageState): readonly string[] {
  const shown = new Map<string, string>();
  for (const { name, value } of state.args) shown.set(name, state.env.get(name) ?? value ?? "");
  if (shown.size === 0) return [];
  return [`|${shown.size}`, ...[...shown].map(([name, value]) => `${name}=${value}`)];
}

/** A step that has less than its flags ask for must not look as if it had it all. */
function sayWhatLacks({ insecure, devices }: StepRights, tools: Tools): void {
  for (const notice of devices.notices) tools.notice(notice);
  if (insecure && !tools.options.step.asRoot) tools.notice(NOT_QUITE_INSECURE);
}

async function execute(
  { network, insecure, devices }: StepRights,
  argv: readonly string[],
  mounts: StepMounts,
  state: StageState,
  tools: Tools,
): Promise<SealedLayer> {
  const [program, ...rest] = argv;
  if (program === undefined) {
    throw new TsbuildError("DOCKERFILE_INVALID", "RUN has no command", {
      hint: "write RUN followed by a command",
    });
  }
  const user = resolveUser(await tools.tree(state.image), state.image.config.user);
  const env = environment(state, tools, user.home);
  for (const [name, value] of mounts.env) env.set(name, value);
  const { step, buildArgs, hosts, resolvConf } = tools.options;
  const hostname = step.hostname ?? (buildArgs.get("BUILDKIT_SANDBOX_HOSTNAME") || HOSTNAME);
  const extra = step.extraHosts.map(({ name, address }) => `${address}\t${name}\n`).join("");
  const spec: StepSpec = {
    argv: [program, ...rest],
    env: Object.fromEntries(env),
    cwd: state.image.config.workingDir === "" ? "/" : state.image.config.workingDir,
    uid: user.uid,
    gid: user.gid,
    groups: [...new Set([...user.groups, ...devices.groups])],
    hostname,
    mounts: mounts.mounts,
    network,
    hosts: hostsFile(hosts, hostname) + extra,
    resolvConf,
    insecure,
    limits: step.limits,
    ...(step.shmBytes === undefined ? {} : { shmBytes: step.shmBytes }),
    ...foreign(state, tools),
  };
  const { status, tail, seal } = await tools.run(state.image, spec);
  if (status.kind !== "exited" || status.code !== 0) throw failure(argv, status, tail);
  return seal();
}

/** BuildKit's two lines, and what else the builder's own file says: in a Pod, its hostAliases. */
function hostsFile(own: string, hostname: string): string {
  const known = /^(127\.0\.0\.1|::1)(\s+(localhost|ip6-localhost|ip6-loopback))+\s*$/;
  const rest = own.split("\n").filter((line) => !/^\s*(#|$)/.test(line) && !known.test(line));
  const local = `127.0.0.1\tlocalhost ${hostname}`;
  return [local, "::1\tlocalhost ip6-localhost ip6-loopback", ...rest, ""].join("\n");
}

/** An image's own word says what its programs are for: a base may be of another platform than the one that was asked for. */
function foreign(state: StageState, { options }: Tools): Pick<StepSpec, "architecture"> {
  const { architecture } = normalizePlatform(state.image.config.platform);
  return architecture === options.buildPlatform.architecture ? {} : { architecture };
}

/** ENV and ARG, upon them the proxies that build args name (in both cases), PATH and HOME. None of the builder's own. */
function environment(state: StageState, tools: Tools, home: string): Map<string, string> {
  const env = new Map<string, string>();
  if (!state.env.has("PATH")) env.set("PATH", DEFAULT_PATH);
  for (const [name, value] of state.env) env.set(name, value);
  const args = [...tools.options.buildArgs].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const proxy of PROXIES) {
    const given = args.findLast(([name]) => name.toUpperCase() === proxy)?.[1];
    if (given === undefined || given === "") continue;
    env.set(proxy, given).set(proxy.toLowerCase(), given);
  }
  if (!env.has("HOME")) env.set("HOME", home);
  return env;
}

function failure(argv: readonly string[], status: ExitStatus, tail: string): StepFailure {
  const code =
    status.kind === "exited" ? status.code : SIGNAL_BASE + constants.signals[status.signal];
  const ending = status.kind === "exited" ? `exit code: ${code}` : `killed by ${status.signal}`;
  const message = `process "${argv.join(" ")}" did not complete successfully: ${ending}`;
  return new StepFailure(message, code, tail);
}
