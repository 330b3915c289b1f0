/** Runs Pods by `podman kube play`: the manifests that users write, and contexts rendered as manifests. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PodContext, SeccompName } from "./pod-contexts.js";
import { volumesOf, type PodRequest, type PodVolume } from "./pod-request.js";
import type { PodHost } from "./pods-host.js";
import type { Outcome, RunOptions } from "./tools.js";

/** How podman is told a profile: it ignores `seccompProfile`, and knows this annotation of old. */
const SECCOMP_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod";
export const POD_NAME = "tsbuild-pod";
export const CONTAINER_NAME = "build";
const DEFAULT_TIMEOUT_MS = 300_000;

export interface PlayOptions {
  /** The Pod's name in the manifest. */
  readonly pod?: string;
  /** The container whose output and exit code count. */
  readonly container?: string;
  /** Milliseconds until the Pod is removed and the call fails. */
  readonly timeoutMs?: number;
  /** Sees the program that follows the container's output, for callers that show it as it comes. */
  readonly onStart?: RunOptions["onStart"];
}

/** Plays a manifest (YAML, or JSON documents) and answers how one container of it ended. Removes all of it on every path. */
export async function playPod(
  host: PodHost,
  manifest: string,
  options: PlayOptions = {},
): Promise<Outcome> {
  const { pod = POD_NAME, container = CONTAINER_NAME } = options;
  const file = join(host.dir, "run", `${pod}.yaml`);
  await writeFile(file, manifest, { mode: 0o600 });
  const name = `${pod}-${container}`;
  try {
    await host.mustRun([
      "podman",
      "kube",
      "play",
      "--quiet",
      `--seccomp-profile-root=${host.profiles}`,
      file,
    ]);
    return await follow(host, name, options);
  } finally {
    await tearDown(host, pod, file);
  }
}

async function follow(host: PodHost, name: string, options: PlayOptions): Promise<Outcome> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const logs = await host.run(["podman", "logs", "--follow", name], {
    timeoutMs,
    ...(options.onStart === undefined ? {} : { onStart: options.onStart }),
  });
  if (logs.code !== 0) {
    throw new Error(`the logs of ${name} ended with ${logs.code ?? logs.signal}: ${logs.stderr}`);
  }
  const code = Number(await host.mustRun(["podman", "wait", name], { timeoutMs }));
  return { ...logs, code };
}

/** Faster than `kube down`, which waits for containers that nobody needs any more. */
async function tearDown(host: PodHost, pod: string, file: string): Promise<void> {
  await host.run(["podman", "pod", "rm", "--force", "--time", "0", "--ignore", pod]);
  await host.run(["podman", "kube", "down", "--force", file]);
}

/** What a Pod's metadata say of its profile: the flag of `kube play` is for containers of other makers. */
export function seccompAnnotation(seccomp: SeccompName): Record<string, string> {
  return { [SECCOMP_ANNOTATION]: profileOf(seccomp) };
}

function profileOf(seccomp: SeccompName): string {
  return seccomp === "unconfined" ? "unconfined" : `localhost/${seccomp}.json`;
}

/** Runs a request by `podman kube play`. */
export function runByKube(
  host: PodHost,
  request: PodRequest,
  options: Pick<PlayOptions, "timeoutMs" | "onStart"> = {},
): Promise<Outcome> {
  if (request.context.notByKube !== undefined) throw new Error(request.context.notByKube);
  return playPod(host, manifestOf(request), options);
}

/** The Pod of a request and its Secrets, as JSON documents, which YAML reads. */
export function manifestOf(request: PodRequest): string {
  const { context } = request;
  const volumes = volumesOf(request).map((volume, i) => ({ name: `volume-${i}`, volume }));
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: POD_NAME,
      annotations: seccompAnnotation(context.seccomp),
    },
    spec: {
      // The registry listens on loopback, and a network of its own would leave a bridge behind.
      hostNetwork: true,
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      ...(context.ownUsers ? { hostUsers: false } : {}),
      containers: [
        {
          name: CONTAINER_NAME,
          image: request.image,
          imagePullPolicy: "Never",
          ...(request.command === undefined ? {} : { command: request.command }),
          ...(request.args === undefined ? {} : { args: request.args }),
          ...(request.workingDir === undefined ? {} : { workingDir: request.workingDir }),
          env: Object.entries(request.env ?? {}).map(([name, value]) => ({ name, value })),
          securityContext: securityContext(context),
          volumeMounts: volumes.map(({ name, volume }) => ({
            name,
            mountPath: volume.path,
            ...(volume.kind === "host" && volume.readOnly === true ? { readOnly: true } : {}),
          })),
        },
      ],
      volumes: volumes.map(({ name, volume }) => ({ name, ...volumeSource(name, volume) })),
    },
  };
  const secrets = volumes.flatMap(({ name, volume }) =>
    volume.kind === "secret"
      ? [{ apiVersion: "v1", kind: "Secret", metadata: { name }, stringData: volume.files }]
      : [],
  );
  return [...secrets, pod].map((document) => JSON.stringify(document, null, 1)).join("\n---\n");
}

function securityContext(context: PodContext): Record<string, unknown> {
  if (context.privileged) return { privileged: true };
  return {
    runAsUser: context.uid,
    runAsGroup: context.gid,
    ...(context.uid === 0 ? {} : { runAsNonRoot: true }),
    capabilities: { drop: ["ALL"], add: context.capabilities },
    allowPrivilegeEscalation: !context.noNewPrivileges,
    readOnlyRootFilesystem: context.readOnlyRoot,
    ...(context.maskedProc ? {} : { procMount: "Unmasked" }),
  };
}

function volumeSource(name: string, volume: PodVolume): Record<string, unknown> {
  switch (volume.kind) {
    case "empty":
      return { emptyDir: volume.medium === "memory" ? { medium: "Memory" } : {} };
    case "secret":
      return { secret: { secretName: name } };
    case "host":
      return { hostPath: { path: volume.source } };
  }
}
