/**
 * A stand-in for Tekton's controller: makes of a Task and what a TaskRun gives it the Pod that Tekton makes, with its own
 * entry point in front of each step, its volumes, and its results in the termination message.
 * https://github.com/tektoncd/pipeline/blob/main/docs/developers/README.md
 */
import { chmod, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { playPod, seccompAnnotation } from "./pod-kube.js";
import type { SeccompName } from "./pod-contexts.js";
import type { PodHost } from "./pods-host.js";
import { findTool, mustRun, type Outcome } from "./tools.js";

export interface Step {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly script?: string;
  readonly workingDir?: string;
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface TaskSpec {
  readonly params?: readonly { readonly name: string; readonly default?: string | string[] }[];
  readonly workspaces?: readonly {
    readonly name: string;
    readonly mountPath?: string;
    readonly optional?: boolean;
  }[];
  readonly results?: readonly { readonly name: string }[];
  readonly steps: readonly Step[];
  readonly volumes?: readonly Readonly<Record<string, unknown>>[];
}

export interface TaskRun {
  readonly name: string;
  readonly params?: Readonly<Record<string, string | string[]>>;
  /** Directories of this machine, or a Secret's files. */
  readonly workspaces: Readonly<
    Record<string, string | { readonly secret: Record<string, string> }>
  >;
  /** What Tekton has found out by a Task's service account: files below $HOME, by their names. */
  readonly credentials?: Readonly<Record<string, string>>;
  /** Files in /tekton/home. */
  readonly home?: Readonly<Record<string, string>>;
  /** In podman's store, by the images of the Task. */
  readonly images: Readonly<Record<string, string>>;
  readonly seccomp: SeccompName;
  /** What no Task says and this machine needs. */
  readonly machine: {
    readonly env: Readonly<Record<string, string>>;
    readonly secrets: Readonly<Record<string, Record<string, string>>>;
    /** The Pod's /etc/hosts: podman does not read `hostAliases` of a Pod with the host's network. */
    readonly hosts: string;
  };
}

export interface TaskOutcome {
  /** Of the last step; when an earlier one failed, Tekton's own. */
  readonly code: number | null;
  /** By step. */
  readonly output: Readonly<Record<string, string>>;
  readonly exitCodes: Readonly<Record<string, string>>;
  readonly results: Readonly<Record<string, string>>;
  /** What is in /tekton/results, byte by byte. */
  readonly resultFiles: Readonly<Record<string, string>>;
}

type Values = Readonly<Record<string, string | readonly string[]>>;

/** Runs a Task to its end, as a TaskRun. */
export async function runTask(host: PodHost, task: TaskSpec, run: TaskRun): Promise<TaskOutcome> {
  const dir = join(host.dir, "tekton", run.name);
  await layOut(dir, task, run);
  const values = valuesOf(task, run);
  const steps = await Promise.all(
    task.steps.map((step, i) => containerOf(host, { task, run, dir, values, step, i })),
  );
  const last = task.steps.at(-1)?.name ?? "";
  const outcome: Outcome = await playPod(host, documents(dir, task, run, steps), {
    pod: run.name,
    container: `step-${last}`,
  });
  return describe(dir, task, outcome.code);
}

const DIRECTORIES = [
  "bin",
  "run",
  "downward",
  "home",
  "results",
  "steps",
  "artifacts",
  "scripts",
  "logs",
  "done",
  "implicit",
];

async function layOut(dir: string, task: TaskSpec, run: TaskRun): Promise<void> {
  for (const name of [...DIRECTORIES, "creds"]) {
    await mkdir(join(dir, name), { recursive: true });
    await chmod(join(dir, name), 0o777);
  }
  const here = new URL(".", import.meta.url).pathname;
  await copyFile(join(here, "tekton-entrypoint.sh"), join(dir, "bin/entrypoint"));
  await copyFile(findTool("busybox") ?? "/bin/busybox", join(dir, "bin/busybox"));
  for (const name of ["entrypoint", "busybox"]) await chmod(join(dir, "bin", name), 0o755);
  await writeFile(join(dir, "downward/ready"), "READY");
  await writeFile(join(dir, "hosts"), run.machine.hosts);
  const files = { ...prefixed("creds", run.credentials), ...prefixed("home", run.home) };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(dir, name, ".."), { recursive: true });
    await writeFile(join(dir, name), text);
  }
  for (const i of task.steps.keys()) {
    await writeFile(join(dir, `done/${i}`), "");
    await mkdir(join(dir, `run/${i}`));
    for (const path of [`done/${i}`, `run/${i}`]) await chmod(join(dir, path), 0o777);
  }
}

function prefixed(
  dir: string,
  files: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [`${dir}/${name}`, text]));
}

function valuesOf(task: TaskSpec, run: TaskRun): Values {
  const values: Record<string, string | readonly string[]> = {};
  for (const { name, default: usual } of task.params ?? []) {
    const value = run.params?.[name] ?? usual;
    if (value === undefined) throw new Error(`no value for the parameter ${name}`);
    values[`params.${name}`] = value;
  }
  for (const workspace of task.workspaces ?? []) {
    const isBound = run.workspaces[workspace.name] !== undefined;
    if (!isBound && workspace.optional !== true) throw new Error(`no workspace ${workspace.name}`);
    values[`workspaces.${workspace.name}.path`] = isBound ? pathOf(workspace) : "";
    values[`workspaces.${workspace.name}.bound`] = String(isBound);
  }
  for (const { name } of task.results ?? []) {
    values[`results.${name}.path`] = `/tekton/results/${name}`;
  }
  return values;
}

function pathOf({
  name,
  mountPath,
}: {
  readonly name: string;
  readonly mountPath?: string;
}): string {
  return mountPath ?? `/workspace/${name}`;
}

/** A list's place is an argument of its own. */
function expandAll(words: readonly string[], values: Values): string[] {
  return words.flatMap((word) => {
    const whole = values[/^\$\(([^)]+?)(?:\[\*\])?\)$/.exec(word)?.[1] ?? ""];
    return typeof whole === "object" ? [...whole] : [expand(word, values)];
  });
}

function expand(word: string, values: Values): string {
  return word.replaceAll(/\$\(((?:params|workspaces|results)\.[^)]+)\)/g, (_, name: string) => {
    const value = values[name];
    if (typeof value !== "string") throw new Error(`no text for $(${name})`);
    return value;
  });
}

interface StepInput {
  readonly task: TaskSpec;
  readonly run: TaskRun;
  readonly dir: string;
  readonly values: Values;
  readonly step: Step;
  readonly i: number;
}

async function containerOf(host: PodHost, input: StepInput): Promise<Record<string, unknown>> {
  const { task, run, values, step, i } = input;
  const named = expand(step.image, values);
  const image = run.images[named];
  if (image === undefined) throw new Error(`no image for ${named}`);
  const config = await imageConfig(host, image);
  const [program = "", ...args] = await commandOf(input, config.Entrypoint ?? []);
  const path = config.Env?.find((line) => line.startsWith("PATH="))?.slice(5) ?? "/usr/bin:/bin";
  const results = (task.results ?? []).map(({ name }) => name).join(",");
  const waitFor =
    i === 0
      ? ["-wait_file", "/tekton/downward/ready", "-wait_file_content"]
      : ["-wait_file", `/tekton/run/${i - 1}/out`];
  const env = { ...run.machine.env, STEP_PATH: path };
  return {
    name: `step-${step.name}`,
    image,
    imagePullPolicy: "Never",
    command: ["/tekton/bin/entrypoint"],
    args: [
      ...waitFor,
      "-post_file",
      `/tekton/run/${i}/out`,
      "-termination_path",
      "/tekton/termination",
      "-step_metadata_dir",
      `/tekton/run/${i}/status`,
      "-stdout_path",
      `/tekton/logs/${step.name}`,
      ...(results === "" ? [] : ["-results", results]),
      "-entrypoint",
      program,
      "--",
      ...args,
    ],
    ...(step.workingDir === undefined ? {} : { workingDir: expand(step.workingDir, values) }),
    env: [
      ...(step.env ?? []).map(({ name, value }) => ({ name, value: expand(value, values) })),
      ...Object.entries(env).map(([name, value]) => ({ name, value })),
    ],
    ...(step.securityContext === undefined ? {} : { securityContext: withUsualRights(step) }),
    volumeMounts: [...mountsOf(task, run, i), ...(step.volumeMounts ?? [])],
  };
}

/** podman's own defaults lack three of the capabilities that containers have in Kubernetes. */
function withUsualRights({ securityContext = {} }: Step): Record<string, unknown> {
  if (securityContext["capabilities"] !== undefined) return securityContext;
  return { ...securityContext, capabilities: { add: ["MKNOD", "NET_RAW", "AUDIT_WRITE"] } };
}

/** Without a command the image's own counts, which the controller looks up; a script is a file. */
async function commandOf(input: StepInput, entrypoint: readonly string[]): Promise<string[]> {
  const { step, values, dir, i } = input;
  if (step.script !== undefined) {
    const name = `script-${i}`;
    await writeFile(join(dir, "scripts", name), expand(step.script, values), { mode: 0o755 });
    return [`/tekton/scripts/${name}`];
  }
  return [...(step.command ?? entrypoint), ...expandAll(step.args ?? [], values)];
}

interface OciConfig {
  readonly Entrypoint?: readonly string[];
  readonly Env?: readonly string[];
}

async function imageConfig(host: PodHost, image: string): Promise<OciConfig> {
  const text = await host.mustRun([
    "podman",
    "image",
    "inspect",
    "--format",
    "{{json .Config}}",
    image,
  ]);
  return JSON.parse(text) as OciConfig;
}

interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly readOnly?: boolean;
}

function mountsOf(task: TaskSpec, run: TaskRun, i: number): readonly VolumeMount[] {
  const inTekton = (name: string, readOnly = false): VolumeMount => ({
    name: `tekton-${name}`,
    mountPath: `/tekton/${name}`,
    readOnly,
  });
  const workspaces = (task.workspaces ?? []).filter(({ name }) => name in run.workspaces);
  return [
    { name: "hosts", mountPath: "/etc/hosts" },
    { name: "tekton-implicit", mountPath: "/workspace" },
    inTekton("bin", true),
    inTekton("steps", true),
    inTekton("scripts", true),
    inTekton("downward", true),
    ...["run", "home", "results", "artifacts", "logs", "creds"].map((name) => inTekton(name)),
    { name: `tekton-done-${i}`, mountPath: "/tekton/termination" },
    ...workspaces.map((workspace) => ({
      name: `workspace-${workspace.name}`,
      mountPath: pathOf(workspace),
      readOnly: typeof run.workspaces[workspace.name] === "object",
    })),
    ...Object.keys(run.machine.secrets).map((path, at) => ({
      name: `machine-${at}`,
      mountPath: path,
      readOnly: true,
    })),
  ];
}

function documents(
  dir: string,
  task: TaskSpec,
  run: TaskRun,
  containers: readonly Record<string, unknown>[],
): string {
  const hostPath = (name: string, path: string): Record<string, unknown> => ({
    name,
    hostPath: { path },
  });
  const secrets: Record<string, Readonly<Record<string, string>>> = {};
  const secret = (
    name: string,
    files: Readonly<Record<string, string>>,
  ): Record<string, unknown> => {
    secrets[name] = files;
    return { name, secret: { secretName: name } };
  };
  const volumes = [
    hostPath("hosts", join(dir, "hosts")),
    ...[...DIRECTORIES, "creds"].map((name) => hostPath(`tekton-${name}`, join(dir, name))),
    ...task.steps.map((_, i) => hostPath(`tekton-done-${i}`, join(dir, `done/${i}`))),
    ...Object.entries(run.workspaces).map(([name, from]) =>
      typeof from === "string"
        ? hostPath(`workspace-${name}`, from)
        : secret(`workspace-${name}`, from.secret),
    ),
    ...Object.values(run.machine.secrets).map((files, at) => secret(`machine-${at}`, files)),
    ...(task.volumes ?? []),
  ];
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: run.name, annotations: seccompAnnotation(run.seccomp) },
    spec: {
      restartPolicy: "Never",
      hostNetwork: true,
      containers,
      volumes,
    },
  };
  const made = Object.entries(secrets).map(([name, stringData]) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name },
    stringData,
  }));
  return [...made, pod].map((document) => JSON.stringify(document, null, 1)).join("\n---\n");
}

async function describe(dir: string, task: TaskSpec, code: number | null): Promise<TaskOutcome> {
  const text = (path: string): Promise<string> => readFile(join(dir, path), "utf8").catch(() => "");
  const output: Record<string, string> = {};
  const exitCodes: Record<string, string> = {};
  const results: Record<string, string> = {};
  for (const [i, { name }] of task.steps.entries()) {
    output[name] = await text(`logs/${name}`);
    exitCodes[name] = (await text(`run/${i}/status/exitCode`)).trim();
    const message = (await text(`done/${i}`)) || "[]";
    for (const { key, value } of JSON.parse(message) as { key: string; value: string }[]) {
      results[key] = value;
    }
  }
  const resultFiles: Record<string, string> = {};
  for (const { name } of task.results ?? []) resultFiles[name] = await text(`results/${name}`);
  return { code, output, exitCodes, results, resultFiles };
}

/** What a step's user can read of what the test made. */
export async function openToAll(dir: string): Promise<void> {
  await mustRun("chmod", ["-R", "u+rwX,go+rX", dir]);
}
