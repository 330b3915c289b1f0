import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundleScript } from "./child.js";

/** Prints what the store says and what is left of it, for a test that runs in a mount namespace of its own. */
const SCRIPT = `
  import { readdir } from "node:fs/promises";
  import { openStore, writeDockerArchive, writeOciLayout } from "./src/store/index.ts";
  import { digestOf } from "./src/oci/digest.ts";
  const [, , what, root] = process.argv;
  const signal = new AbortController().signal;
  const size = 4_000_000;
  const content = Buffer.alloc(size, 7);
  async function* open() {
    for (let at = 0; at < size; at += 65_536) yield content.subarray(at, at + 65_536);
  }
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: digestOf(content), size };
  const bytes = Buffer.from("{}");
  const document = { bytes, descriptor: { mediaType: "", digest: digestOf(bytes), size: 2 } };
  const image = { manifest: document, config: document, layers: [{ descriptor: layer, open }] };
  const work = {
    store: async () => {
      await using store = await openStore(root, signal);
      await store.put(open(), what === "store" ? layer : undefined, signal);
    },
    layout: () => writeOciLayout(root + "/layout", image, [], signal),
    archive: () => writeDockerArchive(root + "/image.tar", image, [], signal),
  };
  const error = await work[what]().then(() => undefined, (reason) => reason);
  const left = (await readdir(root, { recursive: true, withFileTypes: true }))
    .filter((one) => one.isFile()).map((one) => one.name);
  console.log(JSON.stringify({ code: error?.code, message: error?.message, hint: error?.hint, left }));
`;

let base: string;
let script: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "tsbuild-full-"));
  script = bundleScript(SCRIPT, base);
});
afterAll(async () => {
  await rm(base, { recursive: true, force: true });
});

/** Runs on a filesystem of 1 MiB; gives the reason instead where this machine does not allow it. */
async function onSmallDisk(what: string, options: string): Promise<unknown> {
  const root = join(base, what);
  await mkdir(root, { recursive: true });
  const command = `mount -t tmpfs -o ${options} tsbuild-test ${root} || exit 90; exec "$0" "$@"`;
  const args = ["-m", "sh", "-c", command, process.execPath, script, what, root];
  const run = spawnSync("unshare", args, { encoding: "utf8" });
  if (run.status === 0) return JSON.parse(run.stdout) as unknown;
  if (/^(unshare|mount):/m.test(run.stderr) || run.error) {
    return `needs root and mount namespaces: ${run.error?.message ?? run.stderr.trim()}`;
  }
  throw new Error(run.stderr);
}

test.for([
  ["store", ["usage.json", "version"]],
  ["layout", []],
  ["archive", []],
] as const)(
  "a full disk under the %s is an error with a hint, and nothing half-made stays",
  async ([what, left], context) => {
    const result = await onSmallDisk(what, "size=1m");
    if (typeof result === "string") context.skip(result);
    expect(result).toMatchObject({
      code: "STORE_FAILED",
      message: expect.stringMatching(/^tried to write .* at \/.*ENOSPC/),
      hint: expect.stringContaining("free space"),
      left,
    });
  },
);

test("a store that cannot be written is an error with a hint", async (context) => {
  const result = await onSmallDisk("store", "ro");
  if (typeof result === "string") context.skip(result);
  expect(result).toMatchObject({
    code: "STORE_FAILED",
    message: expect.stringContaining("EROFS"),
    hint: expect.stringContaining("--store"),
  });
});
