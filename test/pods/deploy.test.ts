import { cp, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseFlags } from "../../src/cli/parse-flags.js";
import { busyboxBase } from "../support/bases.js";
import { executorImage } from "../support/executor-image.js";
import type { SeccompName } from "../support/pod-contexts.js";
import { loadImage, NODE_IMAGE } from "../support/pod-images.js";
import { playPod, seccompAnnotation } from "../support/pod-kube.js";
import { startPods } from "../support/pods.js";
import { lacksPods } from "../support/pods-root.js";
import type { PodHost } from "../support/pods-host.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { copyToLayout, readLayout, type JudgedImage } from "../support/tools-images.js";
import { lacksTools, mustRun, tempDir, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksYaml, readYaml, type Json, type JsonObject } from "../support/yaml.js";

const DEPLOY = join(CHECKOUT, "deploy");
/** What a user replaces: see deploy/README.md. */
const BUILDER = "registry.example.com/tsbuild";

/** Every object and every text of a document. */
function* walk(value: Json | undefined): Generator<Json> {
  if (value === undefined) return;
  yield value;
  if (typeof value !== "object" || value === null) return;
  for (const each of Object.values(value)) yield* walk(each as Json);
}

function texts(value: Json): readonly string[] {
  return [...walk(value)].filter((each) => typeof each === "string");
}

function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What runs containers: those with an image of the builder's. */
function builders(document: Json): readonly JsonObject[] {
  return [...walk(document)]
    .filter(isObject)
    .filter(
      ({ image, args }) =>
        typeof image === "string" && args !== undefined && /tsbuild|BUILDER_IMAGE/.test(image),
    );
}

describeUnless([await lacksYaml()], "the examples of deploy/", () => {
  let files: ReadonlyMap<string, readonly JsonObject[]>;
  beforeAll(async () => {
    const found = new Map<string, readonly JsonObject[]>();
    for (const name of await readdir(DEPLOY, { recursive: true })) {
      if (!/\.ya?ml$/.test(name)) continue;
      found.set(name, await readYaml(await readFile(join(DEPLOY, name), "utf8")));
    }
    files = found;
  });

  test("are all listed in the README", async () => {
    const readme = await readFile(join(DEPLOY, "README.md"), "utf8");
    for (const name of files.keys()) expect(readme).toContain(`(${name})`);
  });

  test("say what they are, in the versions of their interfaces", () => {
    const objects = [...files.values()].flat().filter(({ kind }) => kind !== undefined);
    const kinds = objects.map(({ apiVersion, kind }) => JSON.stringify([apiVersion, kind]));
    expect(
      kinds.map((kind) => kind.replaceAll(/["[\]]/g, "").replace(",", " ")).toSorted(),
    ).toEqual([
      "argoproj.io/v1alpha1 Workflow",
      "batch/v1 Job",
      "tekton.dev/v1 Pipeline",
      "tekton.dev/v1 PipelineRun",
      "tekton.dev/v1 Task",
      "v1 Pod",
      "v1 Pod",
    ]);
  });

  test("give tsbuild flags that it knows, and files that are mounted", () => {
    let seen = 0;
    for (const [name, documents] of files) {
      for (const container of documents.flatMap(builders)) {
        const args = container["args"] as readonly string[];
        const flags = args.filter((arg) => arg !== "$(params.EXTRA_ARGS)");
        expect(() => parseFlags(flags), name).not.toThrow();
        seen += 1;
      }
    }
    expect(seen).toBe(5);
    const scripts = [
      ...(files.get("gitlab/gitlab-ci.yml") ?? []),
      ...(files.get("github/build.yml") ?? []),
    ];
    const lines = scripts.flatMap(texts).filter((text) => text.includes("--destination"));
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      const words =
        line
          .split(/(?:\/kaniko\/executor|tsbuild:latest) /)[1]
          ?.trim()
          .split(/\s+/) ?? [];
      expect(() => parseFlags(words.map((word) => word.replaceAll('"', "")))).not.toThrow();
    }
  });

  test("have as the builder's image the placeholder alone", () => {
    const images = [...files.values()].flat().flatMap(texts);
    const named = images.filter((text) => /(^|\/)tsbuild:/.test(text) && !text.includes(" "));
    expect(named.length).toBeGreaterThan(4);
    for (const image of named) expect(image).toMatch(new RegExp(`^${BUILDER}:(latest|debug)$`));
  });

  test("ask for no privilege, and drop every capability that they do not name", () => {
    let seen = 0;
    for (const [name, documents] of files) {
      for (const value of documents.flatMap((document) => [...walk(document)])) {
        if (!isObject(value)) continue;
        for (const key of ["privileged", "hostPID", "hostNetwork", "hostIPC"]) {
          expect(value[key], `${key} in ${name}`).not.toBe(true);
        }
        if (value["capabilities"] === undefined) continue;
        const { drop, add = [] } = value["capabilities"] as { drop: string[]; add?: string[] };
        expect(drop, name).toEqual(["ALL"]);
        expect(["SETUID", "SETGID", "SETFCAP", "DAC_OVERRIDE"]).toEqual(
          expect.arrayContaining(add),
        );
        expect(value["allowPrivilegeEscalation"], name).toBe(false);
        seen += 1;
      }
    }
    expect(seen).toBe(7);
  });

  test("mount volumes and workspaces that they declare", () => {
    for (const [name, documents] of files) {
      const objects = documents.flatMap((document) => [...walk(document)]).filter(isObject);
      const declared = objects.flatMap(
        (object) =>
          [object["volumes"], object["volumeClaimTemplates"]].flat() as (JsonObject | undefined)[],
      );
      const names = new Set(
        declared.map((v) => v?.["name"] ?? (v?.["metadata"] as JsonObject | undefined)?.["name"]),
      );
      for (const object of objects) {
        for (const mount of (object["volumeMounts"] ?? []) as readonly JsonObject[]) {
          expect(names, name).toContain(mount["name"]);
        }
      }
    }
  });

  test("the Pipeline tests before it builds, and gives the Task what it asks for", () => {
    const [pipeline] = files.get("tekton/pipeline.yaml") ?? [];
    const [task] = files.get("tekton/task.yaml") ?? [];
    const [run] = files.get("tekton/pipelinerun.yaml") ?? [];
    type Named = { readonly name: string };
    const spec = pipeline?.["spec"] as unknown as {
      params: (Named & { default?: string })[];
      tasks: (Named & {
        runAfter?: string[];
        taskRef?: Named;
        params: Named[];
        workspaces: Named[];
      })[];
      workspaces: Named[];
    };
    const order = spec.tasks.map(({ name, runAfter = [] }) => [name, ...runAfter]);
    expect(order).toEqual([["fetch"], ["test", "fetch"], ["build-and-push", "test"]]);
    const build = spec.tasks.at(-1);
    expect(build?.taskRef?.name).toBe((task?.["metadata"] as unknown as Named | undefined)?.name);
    const wanted = task?.["spec"] as unknown as {
      params: (Named & { default?: Json })[];
      workspaces: Named[];
    };
    const names = (all: readonly Named[]): readonly string[] => all.map(({ name }) => name);
    const required = wanted.params.filter((param) => param.default === undefined);
    expect(names(build?.params ?? [])).toEqual(expect.arrayContaining([...names(required)]));
    expect(names(wanted.params)).toEqual(expect.arrayContaining([...names(build?.params ?? [])]));
    expect(names(build?.workspaces ?? [])).toEqual(names(wanted.workspaces));
    const started = run?.["spec"] as unknown as { params: Named[]; workspaces: Named[] };
    const needed = spec.params.filter((param) => param.default === undefined);
    expect(names(started.params)).toEqual(names(needed));
    expect(names(started.workspaces)).toEqual(names(spec.workspaces));
  });
});

const EXECUTOR = "localhost/tsbuild-test/executor:latest";
const ACCOUNT = { username: "deploy", password: "deploy: s3cret" };
const SETUP_MS = 600_000;
const BUILD_MS = 300_000;
const TOOLS = ["docker-registry", "htpasswd", "openssl", "skopeo", "mmdebstrap", "busybox"];

const lacks = [lacksPods(), lacksTools(...TOOLS), lacksBuild(), await lacksYaml()];
describeUnless(lacks, "the Pods of deploy/", () => {
  let dir: TempDir;
  let registry: RegistryService;
  let host: PodHost;

  beforeAll(async () => {
    dir = await tempDir();
    registry = await startRegistry({ tls: true, htpasswd: ACCOUNT });
    const base = `oci:${await busyboxBase()}:latest`;
    const target = `docker://${registry.host}/library/busybox:latest`;
    await mustRun("skopeo", ["copy", "--quiet", ...skopeo("dest"), base, target]);
    const source = join(CHECKOUT, "fixtures/tekton-example/src");
    await cp(source, join(dir.path, "source"), { recursive: true });
    await mustRun("chmod", ["-R", "u+rwX,go+rX", dir.path]);
    host = await startPods({ checkout: CHECKOUT, app: false, writable: [dir.path] });
    await loadImage(host, await executorImage(CHECKOUT), EXECUTOR);
  }, SETUP_MS);
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
    await dir?.[Symbol.asyncDispose]();
  });

  function skopeo(side: "src" | "dest"): readonly string[] {
    const creds = `${ACCOUNT.username}:${ACCOUNT.password}`;
    return [...registry.skopeoFlags(side), `--${side}-creds`, creds];
  }

  /** A manifest as it is, but for what is this machine's: the registry and its certificate, the images, the repository. */
  async function played(name: string, seccomp: SeccompName): Promise<string> {
    const [document] = await readYaml(await readFile(join(DEPLOY, name), "utf8"));
    const text = JSON.stringify(document)
      .replaceAll(`${BUILDER}:latest`, EXECUTOR)
      .replaceAll("docker.io/alpine/git:latest", NODE_IMAGE)
      .replaceAll("registry.example.com", registry.host);
    const manifest = JSON.parse(text) as PodManifest & { spec: { template?: PodManifest } };
    const pod = manifest.spec.template ?? manifest;
    pod.metadata.annotations = seccompAnnotation(seccomp);
    const { spec } = pod;
    spec.hostNetwork = true;
    const certificates = { name: "certificates", secret: { secretName: "certificates" } };
    const fetched = { name: "fetched", hostPath: { path: join(dir.path, "source") } };
    spec.volumes.push(certificates, fetched);
    for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
      container.imagePullPolicy = "Never";
      container.volumeMounts.push({ name: "certificates", mountPath: "/certificates" });
      container.env = [
        ...(container.env ?? []),
        { name: "SSL_CERT_FILE", value: "/certificates/ca.crt" },
        { name: "KANIKO_REGISTRY_MAP", value: `index.docker.io=${registry.host}` },
      ];
    }
    for (const container of spec.initContainers ?? []) {
      container.volumeMounts.push({ name: "fetched", mountPath: "/fetched" });
      container.command = ["cp", "-R", "/fetched/."];
      container.args = container.args?.slice(-1);
    }
    const login = join(await registry.dockerConfig(ACCOUNT), "config.json");
    const secrets = [
      secret("registry-login", { ".dockerconfigjson": await readFile(login, "utf8") }),
      secret("certificates", { "ca.crt": await readFile(String(registry.caFile), "utf8") }),
    ];
    return [...secrets, manifest].map((each) => JSON.stringify(each)).join("\n---\n");
  }

  /** The claim of that name, with the repository in it; it goes with the Pod. */
  async function makeClaim(): Promise<void> {
    await host.mustRun(["podman", "volume", "create", "source"]);
    const volume = join(host.dir, "containers/storage/volumes/source/_data");
    await cp(join(dir.path, "source"), volume, { recursive: true });
    await mustRun("chmod", ["-R", "u+rwX,go+rX", volume]);
  }

  async function pushed(): Promise<JudgedImage> {
    const layout = join(dir.path, "pulled");
    const name = `docker://${registry.host}/team/app:latest`;
    await copyToLayout(name, layout, skopeo("src"));
    const image = await readLayout(layout);
    await mustRun("rm", ["-r", layout]);
    return image;
  }

  const PODS: readonly (readonly [string, string, SeccompName])[] = [
    ["kubernetes/pod.yaml", "tsbuild", "unconfined"],
    ["kubernetes/job.yaml", "tsbuild-pod", "unconfined"],
    ["kubernetes/pod-restricted.yaml", "tsbuild-restricted", "runtime-default"],
  ];
  test.each(PODS)(
    "%s builds and pushes with the rights that it names",
    async (name, pod, seccomp) => {
      if (name !== "kubernetes/job.yaml") await makeClaim();
      const outcome = await playPod(host, await played(name, seccomp), { pod, container: "build" });
      expectCode(outcome, 0);
      expect(outcome.stderr).toContain("wordfreq: 3 checks passed");
      const image = await pushed();
      expect(image.config.config).toMatchObject({ User: "reader" });
      const paths = image.layers.slice(1).flatMap((layer) => layer.map(({ name }) => name));
      expect(paths).toContain("usr/local/bin/wordfreq");
      expect(paths.filter((path) => /^(workspace|store|kaniko|certificates)/.test(path))).toEqual(
        [],
      );
    },
    BUILD_MS,
  );
});

interface PodManifest {
  readonly metadata: { annotations?: Record<string, string> };
  readonly spec: {
    hostNetwork?: boolean;
    readonly volumes: Record<string, unknown>[];
    readonly containers: Container[];
    readonly initContainers?: Container[];
  };
}
interface Container {
  imagePullPolicy?: string;
  command?: string[];
  args?: string[] | undefined;
  env?: { name: string; value: string }[];
  readonly volumeMounts: Record<string, unknown>[];
}

function secret(name: string, stringData: Record<string, string>): Record<string, unknown> {
  return { apiVersion: "v1", kind: "Secret", metadata: { name }, stringData };
}
