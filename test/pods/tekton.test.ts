import { spawn } from "node:child_process";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { busyboxBase } from "../support/bases.js";
import { executorImage } from "../support/executor-image.js";
import { loadImage } from "../support/pod-images.js";
import type { SeccompName } from "../support/pod-contexts.js";
import { startPods } from "../support/pods.js";
import { lacksPods } from "../support/pods-root.js";
import type { PodHost } from "../support/pods-host.js";
import { prepareRegistry, stopChild, type PreparedRegistry } from "../support/services.js";
import {
  openToAll,
  runTask,
  type TaskOutcome,
  type TaskRun,
  type TaskSpec,
} from "../support/tekton.js";
import { CHECKOUT, lacksBuild } from "../support/tools-cli.js";
import { copyToLayout, readLayout, type JudgedImage } from "../support/tools-images.js";
import {
  eventually,
  findTool,
  lacksTools,
  mustRun,
  run,
  tempDir,
  type TempDir,
} from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksYaml, readYaml } from "../support/yaml.js";

/** Docker Hub, at an address of this machine that nothing else listens on. */
const HUB = ["index.docker.io", "registry-1.docker.io", "auth.docker.io"];
const HUB_ADDRESS = "127.77.0.1";
const ACCOUNT = { username: "isno", password: "tekton: s3cret" };
const EXECUTOR = "localhost/tsbuild-test/executor:latest";
const SETUP_MS = 600_000;
const BUILD_MS = 300_000;

/** What the catalog's kaniko task gives its step (task/kaniko/0.6 and 0.8 of tektoncd/catalog): flags, and no command. */
function catalogTask(env: TaskSpec["steps"][number]["env"] = []): TaskSpec {
  return {
    params: [
      { name: "IMAGE" },
      { name: "DOCKERFILE", default: "./Dockerfile" },
      { name: "CONTEXT", default: "./" },
      { name: "EXTRA_ARGS", default: [] },
      { name: "BUILDER_IMAGE", default: "gcr.io/kaniko-project/executor:latest" },
    ],
    workspaces: [
      { name: "source" },
      { name: "dockerconfig", optional: true, mountPath: "/kaniko/.docker" },
    ],
    results: [{ name: "IMAGE_DIGEST" }, { name: "IMAGE_URL" }],
    steps: [
      {
        name: "build-and-push",
        image: "$(params.BUILDER_IMAGE)",
        workingDir: "$(workspaces.source.path)",
        args: [
          "$(params.EXTRA_ARGS)",
          "--dockerfile=$(params.DOCKERFILE)",
          "--context=$(workspaces.source.path)/$(params.CONTEXT)",
          "--destination=$(params.IMAGE)",
          "--digest-file=$(results.IMAGE_DIGEST.path)",
        ],
        env,
        securityContext: { runAsUser: 0 },
      },
    ],
  };
}

/** The step that the project was asked for. */
const ISSUE_TASK: TaskSpec = {
  workspaces: [{ name: "source", mountPath: "/workspace/repo" }],
  steps: [
    {
      name: "build-and-push",
      image: "gcr.io/kaniko-project/executor:latest",
      env: [{ name: "DOCKER_CONFIG", value: "/tekton/home/.docker" }],
      command: ["/kaniko/executor"],
      args: [
        "--dockerfile=Dockerfile",
        "--context=/workspace/repo/src",
        "--destination=isno/tekton-test:latest",
      ],
    },
  ],
};

const TOOLS = ["docker-registry", "htpasswd", "openssl", "skopeo", "mmdebstrap", "busybox"];
const lacks = [lacksPods(), lacksTools(...TOOLS), lacksBuild(), await lacksYaml()];
describeUnless(lacks, "a Task of Tekton's", () => {
  let dir: TempDir;
  let registry: PreparedRegistry;
  let server: ReturnType<typeof spawn>;
  let host: PodHost;
  let names = 0;

  beforeAll(async () => {
    dir = await tempDir();
    registry = await prepareRegistry({ tls: true, htpasswd: ACCOUNT, names: HUB, port: 443 });
    const config = await readFile(registry.config, "utf8");
    await writeFile(registry.config, config.replace("127.0.0.1:443", `${HUB_ADDRESS}:443`));
    server = spawn(findTool("docker-registry") ?? "", ["serve", registry.config], {
      stdio: "ignore",
      env: { PATH: process.env["PATH"], OTEL_TRACES_EXPORTER: "none" },
    });
    const layout = `oci:${await busyboxBase()}:latest`;
    const target = `docker://${HUB_ADDRESS}/library/busybox:latest`;
    await eventually("the registry", async () => {
      const pushed = await run("skopeo", ["copy", "--quiet", ...skopeo("dest"), layout, target]);
      return pushed.code === 0 ? true : undefined;
    });
    host = await startPods({ checkout: CHECKOUT, app: false, writable: [dir.path] });
    await loadImage(host, await executorImage(CHECKOUT), EXECUTOR);
  }, SETUP_MS);
  afterAll(async () => {
    await host?.[Symbol.asyncDispose]();
    if (server !== undefined) await stopChild(server);
    await registry?.[Symbol.asyncDispose]();
    await dir?.[Symbol.asyncDispose]();
  });

  /** The address is no name of the certificate's. */
  function skopeo(side: "src" | "dest"): readonly string[] {
    const creds = `${ACCOUNT.username}:${ACCOUNT.password}`;
    return [`--${side}-tls-verify=false`, `--${side}-creds`, creds];
  }

  function login(): string {
    const auth = Buffer.from(`${ACCOUNT.username}:${ACCOUNT.password}`).toString("base64");
    return JSON.stringify({ auths: { "https://index.docker.io/v1/": { auth } } });
  }

  async function repository(): Promise<string> {
    const path = join(dir.path, `repository-${(names += 1)}`);
    await cp(join(CHECKOUT, "fixtures/tekton-example"), path, { recursive: true });
    await openToAll(path);
    return path;
  }

  async function runIn(
    seccomp: SeccompName,
    task: TaskSpec,
    given: Pick<TaskRun, "params" | "workspaces" | "home" | "credentials">,
  ): Promise<TaskOutcome> {
    const images = [
      ...task.steps.map(({ image }) => image),
      "gcr.io/kaniko-project/executor:latest",
    ];
    const usual = task.params?.find(({ name }) => name === "BUILDER_IMAGE")?.default;
    return runTask(host, task, {
      name: `run-${(names += 1)}`,
      images: Object.fromEntries([...images, String(usual)].map((name) => [name, EXECUTOR])),
      seccomp,
      machine: {
        env: { SSL_CERT_FILE: "/certificates/ca.crt" },
        secrets: { "/certificates": { "ca.crt": await readFile(String(registry.caFile), "utf8") } },
        hosts: `127.0.0.1 localhost\n${HUB_ADDRESS} ${HUB.join(" ")}\n`,
      },
      ...given,
    });
  }

  async function pushed(name: string): Promise<JudgedImage> {
    const layout = join(dir.path, `pulled-${(names += 1)}`);
    await copyToLayout(`docker://${HUB_ADDRESS}/${name}`, layout, skopeo("src"));
    return readLayout(layout);
  }

  /** No layer holds anything of the builder's or Tekton's. */
  function expectPure(image: JudgedImage): void {
    const roots = new Set(
      image.layers.slice(1).flatMap((layer) => layer.map(({ name }) => name.split("/")[0])),
    );
    for (const name of ["tekton", "workspace", "kaniko", "certificates", "root", "dev", "proc"]) {
      expect(roots, `layers with /${name}`).not.toContain(name);
    }
    expect(roots).toContain("usr");
  }

  function expectSuccess(outcome: TaskOutcome): void {
    expect(outcome.code, JSON.stringify(outcome.output).slice(-6_000)).toBe(0);
  }

  const NODES: readonly (readonly [string, SeccompName])[] = [
    ["as Kubernetes runs Pods by default", "unconfined"],
    ["under RuntimeDefault", "runtime-default"],
  ];
  describe.each(NODES)("%s", (_name, seccomp) => {
    test(
      "with the arguments of the issue builds, and pushes to Docker Hub by Tekton's login",
      async () => {
        const outcome = await runIn(seccomp, ISSUE_TASK, {
          workspaces: { source: await repository() },
          home: { ".docker/config.json": login() },
        });
        expectSuccess(outcome);
        expect(outcome.output["build-and-push"]).toContain("wordfreq: 3 checks passed");
        const image = await pushed("isno/tekton-test:latest");
        expectPure(image);
        expect(image.config.config.Entrypoint).toEqual(["/usr/local/bin/wordfreq"]);
      },
      BUILD_MS,
    );

    test(
      "from the catalog, 0.6 and 0.8, gives the digest as a result, exactly",
      async () => {
        const versions = { "0.6": [], "0.8": [{ name: "KANIKO_DIR", value: "/kaniko" }] };
        for (const [version, env] of Object.entries(versions)) {
          const outcome = await runIn(seccomp, catalogTask(env), {
            params: {
              IMAGE: `isno/catalog:${version}`,
              CONTEXT: "src",
              DOCKERFILE: "src/Dockerfile",
              EXTRA_ARGS: ["--ignore-path=/product_uuid"],
            },
            workspaces: {
              source: await repository(),
              dockerconfig: { secret: { "config.json": login() } },
            },
          });
          expectSuccess(outcome);
          const image = await pushed(`isno/catalog:${version}`);
          expectPure(image);
          expect(outcome.resultFiles["IMAGE_DIGEST"]).toBe(image.digest);
          expect(outcome.results["IMAGE_DIGEST"]).toBe(image.digest);
        }
      },
      BUILD_MS,
    );
  });

  test(
    "of deploy/ gives both results, with the rights that it asks for",
    async () => {
      const text = await readFile(join(CHECKOUT, "deploy/tekton/task.yaml"), "utf8");
      const [task] = (await readYaml(text)) as unknown as readonly { spec: TaskSpec }[];
      if (task === undefined) throw new Error("no task");
      const outcome = await runIn("unconfined", task.spec, {
        params: { IMAGE: "isno/task:1", CONTEXT: "src", DOCKERFILE: "Dockerfile" },
        workspaces: {
          source: await repository(),
          dockerconfig: { secret: { "config.json": login() } },
        },
      });
      expectSuccess(outcome);
      const image = await pushed("isno/task:1");
      expectPure(image);
      expect(outcome.results).toEqual({ IMAGE_DIGEST: image.digest, IMAGE_URL: "isno/task:1" });
      expect(outcome.resultFiles).toEqual(outcome.results);
    },
    BUILD_MS,
  );

  test(
    "takes the login that Tekton copies to HOME, where the catalog's workspace is not given",
    async () => {
      const outcome = await runIn(
        "unconfined",
        catalogTask([{ name: "DOCKER_CONFIG", value: "" }]),
        {
          params: { IMAGE: "isno/creds:1", CONTEXT: "src", DOCKERFILE: "src/Dockerfile" },
          workspaces: { source: await repository() },
          credentials: { ".docker/config.json": login() },
        },
      );
      expectSuccess(outcome);
      expectPure(await pushed("isno/creds:1"));
    },
    BUILD_MS,
  );

  test(
    "fails with the command's own code, starts no further step and leaves no result",
    async () => {
      const source = await repository();
      await writeFile(join(source, "src/Dockerfile"), "FROM busybox\nRUN exit 42\n");
      const task = catalogTask();
      const next = { name: "next", image: "next", command: ["/kaniko/executor"], args: ["--help"] };
      const outcome = await runIn(
        "unconfined",
        { ...task, steps: [...task.steps, next] },
        {
          params: { IMAGE: "isno/failed:1", CONTEXT: "src", DOCKERFILE: "src/Dockerfile" },
          workspaces: { source, dockerconfig: { secret: { "config.json": login() } } },
        },
      );
      expect(outcome.exitCodes["build-and-push"]).toBe("42");
      expect(outcome.code).toBe(1);
      expect(outcome.output["next"]).toBe("entrypoint: the step before failed\n");
      expect(outcome.results).toEqual({});
      await expect(pushed("isno/failed:1")).rejects.toThrow();
    },
    BUILD_MS,
  );

  test("the stand-in is a shell script without faults", async () => {
    const script = join(CHECKOUT, "test/support/tekton-entrypoint.sh");
    await mustRun("busybox", ["sh", "-n", script]);
  });
});
