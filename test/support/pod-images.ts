/**
 * The image that Pods of the tests run: Debian, node and this checkout, built by this checkout. The half without the
 * checkout, which is large and seldom changes, is kept unpacked in podman's form between runs.
 */
import { createHash } from "node:crypto";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cached, debianBase } from "./bases.js";
import { startPodHost, type PodHost } from "./pods-host.js";
import { findTool, mustRun, tempDir } from "./tools.js";

/** Debian with node, in every host's store. */
export const NODE_IMAGE = "localhost/tsbuild-test/node:latest";
/** The same with the checkout; its entry point is the command. */
export const APP_IMAGE = "localhost/tsbuild-test/app:latest";

/** What `bin/tsbuild.js` needs besides `dist`: the packages that are not bundled. */
const RUNTIME_PACKAGES = ["koffi", "@koromix", "@cloudpss"];
const NODE_DOCKERFILE = `FROM base
COPY --chmod=755 node /usr/local/bin/node
COPY proot /
ENTRYPOINT ["/usr/local/bin/node"]
`;
const APP_DOCKERFILE = `FROM base
COPY app /app
ENV DOCKER_CONFIG=/kaniko/.docker/
ENTRYPOINT ["/usr/local/bin/node", "/app/bin/tsbuild.js"]
`;

/** The layout of Debian with node, built by `checkout` when it is not there yet. */
async function nodeLayout(checkout: string): Promise<string> {
  return cached(`pods-node-${process.version}-${hash(NODE_DOCKERFILE)}`, async (layout) => {
    await using context = await tempDir("tsbuild-pod-image-");
    await cp(process.execPath, join(context.path, "node"));
    await copyProot(join(context.path, "proot"));
    await writeFile(join(context.path, "Dockerfile"), NODE_DOCKERFILE);
    await buildLayout(checkout, context.path, await debianBase(), layout);
  });
}

/** What restricted Pods run steps with, and the one library that Debian's smallest image lacks. Nothing where it is not installed. */
async function copyProot(directory: string): Promise<void> {
  await mkdir(join(directory, "usr/bin"), { recursive: true });
  const program = findTool("proot");
  if (program === undefined) return;
  await cp(program, join(directory, "usr/bin/proot"), { dereference: true });
  const [library] = /\/\S*libtalloc\.so\.2/.exec(await mustRun("ldd", [program])) ?? [];
  if (library === undefined) return;
  const at = join(directory, "usr", library.replace(/^\/usr/, ""));
  await cp(library, at, { dereference: true });
}

/** A directory for `additionalimagestores` in which podman finds `NODE_IMAGE`. */
export async function imageStore(checkout: string): Promise<string> {
  const layout = await nodeLayout(checkout);
  const index = await readFile(join(layout, "index.json"), "utf8");
  const dir = await cached(
    `pods-store-${hash(index)}`,
    async (half) => {
      await using host = await startPodHost({ share: [layout] });
      await pull(host, layout, NODE_IMAGE);
      const storage = join(host.dir, "containers/storage");
      // Its file of links points into directories by absolute paths nowhere: podman's links are relative.
      await mustRun("cp", ["-a", storage, join(half, "storage")]);
    },
    { keepModes: true },
  );
  return join(dir, "storage");
}

/** Builds the image of a checkout (its `dist` as it is) and puts it into the host's store as `APP_IMAGE`. */
export async function loadApp(host: PodHost, checkout: string): Promise<string> {
  const base = await nodeLayout(checkout);
  const context = join(host.dir, "app-context");
  const layout = join(host.dir, "app-layout");
  try {
    await copyApp(checkout, join(context, "app"));
    await writeFile(join(context, "Dockerfile"), APP_DOCKERFILE);
    await buildLayout(checkout, context, base, layout);
    return await pull(host, layout, APP_IMAGE);
  } finally {
    await rm(context, { recursive: true, force: true });
    await rm(layout, { recursive: true, force: true });
  }
}

/** Puts an OCI layout's or an oci-archive's image into the host's store under `name`. */
export async function loadImage(host: PodHost, path: string, name: string): Promise<string> {
  const inside = join(host.dir, `image-${hash(path)}`);
  await cp(path, inside, { recursive: true });
  try {
    return await pull(host, inside, name);
  } finally {
    await rm(inside, { recursive: true, force: true });
  }
}

async function pull(host: PodHost, path: string, name: string): Promise<string> {
  const transport = existsSync(join(path, "index.json")) ? "oci" : "oci-archive";
  const id = await host.mustRun(["podman", "pull", "--quiet", `${transport}:${path}`]);
  await host.mustRun(["podman", "tag", id.trim(), name]);
  return name;
}

async function copyApp(checkout: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const part of ["bin", "dist", "package.json"]) {
    await cp(join(checkout, part), join(target, part), { recursive: true });
  }
  for (const name of RUNTIME_PACKAGES) {
    const from = join(checkout, "node_modules", name);
    if (existsSync(from)) {
      await cp(from, join(target, "node_modules", name), { recursive: true });
    }
  }
  await mustRun("chmod", ["-R", "u+rwX,go+rX", target]);
}

async function buildLayout(
  checkout: string,
  context: string,
  base: string,
  layout: string,
): Promise<void> {
  await using store = await tempDir("tsbuild-pod-store-");
  await mustRun(process.execPath, [
    join(checkout, "bin/tsbuild.js"),
    `--context=${context}`,
    `--build-context=base=oci-layout://${base}`,
    "--no-push",
    "--reproducible",
    `--oci-layout-path=${layout}`,
    `--store=${store.path}`,
  ]);
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
