import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CAPABILITY_NAMES } from "../support/pod-crun.js";
import { CONTEXT_NAMES, podContext, type PodContext } from "../support/pod-contexts.js";
import { NODE_IMAGE } from "../support/pod-images.js";
import { playPod } from "../support/pod-kube.js";
import { runInPod, startPods, type PodRunner } from "../support/pods.js";
import { lacksPods, POD_IDS } from "../support/pods-root.js";
import type { PodHost } from "../support/pods-host.js";
import { CHECKOUT, lacksBuild, leftovers } from "../support/tools-cli.js";
import { eventually, lacksTools } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";

/** Says everything about its own confinement, in the form that the kernel has for it. */
const PROBE = `cat /proc/self/status
echo "uid_map: $(cat /proc/self/uid_map)"
awk '{ print "mount: " $2 " " $3 }' /proc/mounts
touch /probe 2>/dev/null && echo "root: writable" || echo "root: $(touch /probe 2>&1)"
for dir in $DIRS; do touch "$dir/probe" && echo "writable: $dir"; done
unshare --user true 2>/tmp/said && echo "unshare: ok" || echo "unshare: $(unshare --user true 2>&1)"
`;

/** unshare(2) of a user namespace tells the profiles apart. */
const UNSHARE: Readonly<Record<PodContext["seccomp"], string>> = {
  unconfined: "ok",
  podman: "ok",
  "runtime-default": "unshare: unshare failed: Operation not permitted",
  "cri-o": "unshare: unshare failed: Function not implemented",
};

/** The first run makes a Debian, an image and a store for podman. */
const SETUP_MS = 600_000;
const lacks = [lacksPods(), lacksTools("mmdebstrap", "docker-registry"), lacksBuild()];
describeUnless(lacks, "the Pods of the tests", () => {
  let host: PodHost;
  beforeAll(async () => {
    host = await startPods({ checkout: CHECKOUT, app: false });
  }, SETUP_MS);
  afterAll(() => host?.[Symbol.asyncDispose]());

  for (const runner of ["kube", "crun"] as const) {
    describe(`by ${runner}`, () => {
      const contexts = CONTEXT_NAMES.map(podContext).filter(
        (context) => runner === "crun" || context.notByKube === undefined,
      );
      test.each(contexts)("$name: $summary", async (context) => {
        const seen = await probe(context, runner);
        expect(seen).toEqual(await wanted(context));
      });
    });
  }

  test("runc confines a Pod with users of its own as crun does", async () => {
    const context = podContext("own-users-runtime-default");
    const outcome = await runInPod(host, requestOf(context), { runner: "crun", runtime: "runc" });
    expectCode(outcome, 0);
    expect(factsOf(outcome.stdout, context)).toEqual(await wanted(context));
  });

  test("plays a manifest as users write it: Secret, emptyDir, exit code and both streams", async () => {
    const outcome = await playPod(host, MANIFEST, { pod: "written", container: "main" });
    expect(outcome).toMatchObject({ code: 3, stdout: "from the secret\n1000\n", stderr: "bad\n" });
  });

  test("removes the Pod of a manifest that cannot be played, and of one that takes too long", async () => {
    const broken = MANIFEST.replace("localhost/tsbuild-test/node:latest", "localhost/none:1");
    await expect(playPod(host, broken, { pod: "written" })).rejects.toThrow("localhost/none:1");
    const slow = MANIFEST.replace("exit 3", "sleep 600");
    const options = { pod: "written", container: "main", timeoutMs: 5_000 };
    await expect(playPod(host, slow, options)).rejects.toThrow("SIGKILL");
    const left = ["pod ps -q", "ps --all -q", "secret ls -q", "volume ls -q"];
    for (const words of left) {
      expect(await host.mustRun(["podman", ...words.split(" ")])).toBe("");
    }
  });

  test("a host that stops leaves no process, mount or directory", async () => {
    await using other = await startPods({ checkout: CHECKOUT, app: false });
    const context = podContext("default");
    const sleeping = runInPod(other, { ...requestOf(context), command: ["sleep", "600"] });
    const settled = sleeping.then(
      () => undefined,
      () => undefined,
    );
    await eventually("the Pod to run", async () => {
      const running = await other.mustRun(["podman", "ps", "--format", "{{.Names}}"]);
      return running.includes("tsbuild-pod-build") ? true : undefined;
    });
    expect(await leftovers(other.dir)).not.toEqual([]);
    await other[Symbol.asyncDispose]();
    await settled;
    expect(await leftovers(other.dir)).toEqual([]);
    expect(existsSync(other.dir)).toBe(false);
  });

  async function probe(context: PodContext, runner: PodRunner): Promise<Facts> {
    const outcome = await runInPod(host, requestOf(context), { runner });
    expectCode(outcome, 0);
    return factsOf(outcome.stdout, context);
  }
});

function requestOf(context: PodContext): Parameters<typeof runInPod>[1] {
  const env = { DIRS: context.emptyDirs.map((dir) => dir.path).join(" ") };
  return { context, image: NODE_IMAGE, command: ["sh", "-c", PROBE], env };
}

interface Facts {
  readonly uid: string;
  readonly gid: string;
  readonly effective: string;
  readonly bounding: string;
  readonly ambient: string;
  readonly noNewPrivileges: string;
  readonly seccomp: string;
  readonly uidMap: string;
  readonly maskedProc: boolean;
  readonly root: string;
  readonly emptyDirs: readonly string[];
  readonly unshare: string;
}

function factsOf(stdout: string, context: PodContext): Facts {
  const lines = stdout.split("\n");
  const value = (name: string): string =>
    lines
      .find((line) => line.startsWith(`${name}:`))
      ?.slice(name.length + 1)
      .trim()
      .replaceAll(/\s+/g, " ") ?? "";
  return {
    uid: value("Uid"),
    gid: value("Gid"),
    effective: value("CapEff"),
    bounding: value("CapBnd"),
    ambient: value("CapAmb"),
    noNewPrivileges: value("NoNewPrivs"),
    seccomp: value("Seccomp"),
    uidMap: value("uid_map"),
    maskedProc: lines.some((line) => line.startsWith("mount: /proc/keys ")),
    root: value("root"),
    emptyDirs: context.emptyDirs
      .filter(({ path }) => lines.includes(`writable: ${path}`))
      .map(({ path }) => `${path} ${lines.includes(`mount: ${path} tmpfs`) ? "memory" : "disk"}`),
    unshare: value("unshare"),
  };
}

/** What the kernel says in a Pod that is what the context's data says. */
async function wanted(context: PodContext): Promise<Facts> {
  const four = (id: number): string => [id, id, id, id].join(" ");
  const bounding = context.privileged ? await ownBounding() : maskOf(context.capabilities);
  const unconfined = context.privileged || context.seccomp === "unconfined";
  const mayUnshare = unconfined || context.capabilities.includes("SYS_ADMIN");
  return {
    uid: four(context.uid),
    gid: four(context.gid),
    effective: context.uid === 0 ? bounding : maskOf([]),
    bounding,
    ambient: maskOf([]),
    noNewPrivileges: context.noNewPrivileges ? "1" : "0",
    seccomp: unconfined ? "0" : "2",
    uidMap: context.ownUsers ? `0 ${POD_IDS.first} ${POD_IDS.perPod}` : "0 0 4294967295",
    maskedProc: context.maskedProc,
    root: rootOf(context),
    emptyDirs: context.emptyDirs.map(({ path, medium }) => `${path} ${medium}`),
    unshare: mayUnshare ? "ok" : UNSHARE[context.seccomp],
  };
}

function rootOf(context: PodContext): string {
  if (context.readOnlyRoot) return "touch: cannot touch '/probe': Read-only file system";
  return context.uid === 0 ? "writable" : "touch: cannot touch '/probe': Permission denied";
}

function maskOf(capabilities: readonly string[]): string {
  const bits = capabilities.map((name) => 1n << BigInt(CAPABILITY_NAMES.indexOf(name)));
  const mask = bits.reduce((sum, bit) => sum | bit, 0n);
  return mask.toString(16).padStart(16, "0");
}

/** A privileged container holds what the tests themselves could hold. */
async function ownBounding(): Promise<string> {
  return /^CapBnd:\s*(\S+)$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1] ?? "";
}

const MANIFEST = `apiVersion: v1
kind: Secret
metadata: {name: words}
stringData: {word: "from the secret\\n"}
---
apiVersion: v1
kind: Pod
metadata: {name: written}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers:
    - name: main
      image: ${NODE_IMAGE}
      imagePullPolicy: Never
      command: [sh, -c]
      args: ["cat /words/word; touch /space/file; id -u; echo bad >&2; exit 3"]
      resources: {limits: {memory: 256Mi, cpu: "1"}}
      securityContext: {runAsUser: 1000, allowPrivilegeEscalation: false}
      volumeMounts:
        - {name: words, mountPath: /words, readOnly: true}
        - {name: space, mountPath: /space}
  volumes:
    - name: words
      secret: {secretName: words}
    - name: space
      emptyDir: {}
`;
