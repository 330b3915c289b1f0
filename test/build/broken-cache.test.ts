import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { busyboxBase, pushBase } from "../support/bases.js";
import type { MemoryRegistry } from "../support/memory-registry.js";
import { startRegistry, type RegistryService } from "../support/services.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools } from "../support/tools.js";
import { machines } from "./caching.js";
import { memoryRegistry } from "./pushing.js";

const ONE = "FROM scratch AS one\nWORKDIR /x\nCOPY a /a\n";
const TWO = `${ONE}FROM scratch\nCOPY --from=one /a /d\nCOPY b /b\n`;
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";

/** What happens to a file that a cache should have. */
const DAMAGES = {
  deleted: (path: string) => rm(path),
  truncated: (path: string) => truncate(path, 20),
  other: async (path: string) => {
    const bytes = await readFile(path);
    await writeFile(path, bytes.fill(7, bytes.length >> 1));
  },
} as const;
const WAYS = ["deleted", "truncated", "other"] as const;
/** Also one whose roots are directories that layers are unpacked into. */
const DRIVERS = ["auto", "proot"] as const;

/** The layer that the records of a cache's repository say the step has made. */
async function layerOf(
  registry: RegistryService,
  repository: string,
  instruction: string,
): Promise<string> {
  const get = async (path: string): Promise<string> =>
    (
      await fetch(`${registry.url}/v2/${repository}/${path}`, {
        headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
      })
    ).text();
  const { tags } = JSON.parse(await get("tags/list")) as { tags: readonly string[] };
  for (const tag of tags) {
    const manifest = JSON.parse(await get(`manifests/${tag}`)) as {
      readonly config: { readonly digest: string };
      readonly layers: readonly { readonly digest: string; readonly mediaType: string }[];
    };
    const [layer] = manifest.layers;
    const config = await get(`blobs/${manifest.config.digest}`);
    if (layer?.mediaType === LAYER && config.includes(instruction)) return layer.digest;
  }
  throw new Error(`no record of ${instruction} in ${tags.join(" ")}`);
}

function fileOf({ blobs }: RegistryService, digest: string): string {
  const hex = digest.replace("sha256:", "");
  return join(blobs, hex.slice(0, 2), hex, "data");
}

/** Whether a registry has all of the image. It takes no blob whose bytes are others than its digest says. */
function isWhole({ blobs, manifests }: MemoryRegistry, image: string): boolean {
  const text = manifests.get("org/app")?.get(image)?.bytes.toString() ?? "";
  const parts = text.match(/sha256:[0-9a-f]{64}/g) ?? [];
  return parts.length === 3 && parts.every((digest) => blobs.get("org/app")?.has(digest));
}

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox")],
  "a cache's broken layer",
  () => {
    test.each(WAYS)("that is %s is made anew when its files are needed", async (way) => {
      await using registry = await startRegistry();
      const { build } = await machines();
      const repository = `${registry.host}/org/cache`;
      const options = { registryCache: { repository, copyLayers: true } };
      await build("one", ONE, { ...options, target: "one" });
      const digest = await layerOf(registry, "org/cache", "COPY a /a");
      await DAMAGES[way](fileOf(registry, digest));
      const { made, cached, notices } = await build("two", TWO, options);
      expect(made).toEqual(["COPY a /a", "COPY --from=one /a /d", "COPY b /b"]);
      expect(cached).toContain("WORKDIR /x");
      expect(notices).toHaveLength(1);
      expect(notices[0]).toContain(`layer ${digest} of the cache ${repository} cannot be read`);
      // What is deleted is there again; a registry that has a file of that name takes no other one.
      const later = await build("three", TWO.replace("/d", "/e"), options);
      expect(later.made).toContain("COPY --from=one /a /e");
      expect(later.notices).toHaveLength(way === "deleted" ? 0 : 1);
    });

    test("that another registry is to get is made anew, and the image has it", async () => {
      await using registry = await startRegistry();
      const [{ build }, other] = [await machines(), await memoryRegistry()];
      const repository = `${registry.host}/org/cache`;
      const options = { registryCache: { repository, copyLayers: true } };
      await build("one", ONE, { ...options, target: "one" });
      await DAMAGES.other(fileOf(registry, await layerOf(registry, "org/cache", "COPY a /a")));
      const destinations = [`${other.host}/org/app:1`];
      const { made, notices, result } = await build("two", ONE, { ...options, destinations });
      expect(made).toEqual(["COPY a /a"]);
      expect(notices).toHaveLength(1);
      expect(result.pushed).toEqual(destinations);
      expect(isWhole(other, result.image.digest)).toBe(true);
    });

    test("lets others of its cache be looked for, so that a cache without any is left after one try", async () => {
      await using registry = await startRegistry();
      const { build } = await machines();
      const options = {
        registryCache: { repository: `${registry.host}/org/cache`, copyLayers: true },
      };
      const steps = Array.from({ length: 6 }, (_, at) => `COPY a /a${at}`);
      const text = ["FROM scratch AS one", ...steps, ""].join("\n");
      await build("one", text, options);
      for (const step of steps.slice(1)) {
        await rm(fileOf(registry, await layerOf(registry, "org/cache", step)));
      }
      const before = (await registry.requests()).length;
      const paths = steps.map((_, at) => `/a${at}`).join(" ");
      const two = await build(
        "two",
        `${text}FROM scratch\nCOPY --from=one ${paths} /d/\n`,
        options,
      );
      expect(two.made.filter((step) => !step.includes("--from"))).toEqual(steps.slice(1));
      const asked = (await registry.requests()).slice(before);
      // The first try ends with the first that is missing; the second one looks for each.
      expect(asked.filter((one) => /^HEAD \S+cache\/blobs/.test(one)).length).toBeGreaterThan(0);
      expect(two.notices.length).toBeLessThan(steps.length);
    });

    test("is said with the registry's answer, once for each layer", async () => {
      await using registry = await startRegistry();
      const { build } = await machines();
      const repository = `${registry.host}/org/cache`;
      const options = { registryCache: { repository, copyLayers: true } };
      const text = `${ONE}COPY b /x/b\n`;
      await build("one", text, options);
      for (const step of ["COPY a /a", "COPY b /x/b"]) {
        await rm(fileOf(registry, await layerOf(registry, "org/cache", step)));
      }
      const further = `${text}FROM scratch\nCOPY --from=one /a /x/b /d/\n`;
      const { made, notices } = await build("two", further, options);
      expect(made.filter((step) => !step.includes("--from"))).toEqual(["COPY a /a", "COPY b /x/b"]);
      expect(notices).toHaveLength(2);
      for (const notice of notices) expect(notice).toMatch(/\(?404/);
    });
  },
);

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox", "proot"), lacksBuild()],
  "a cache's broken layer below a command",
  () => {
    test.each(DRIVERS)(
      "that a command mounts from another stage is made anew, by %s",
      async (driver) => {
        await using registry = await startRegistry();
        const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
        const { build, path } = await machines();
        const one = "FROM scratch AS one\nCOPY a /a\n";
        await build("one", one, { target: "one", tarPath: join(path, "image.tar"), driver });
        const directory = join(path, "store-one", "blobs", "sha256");
        for (const name of await readdir(directory)) await DAMAGES.other(join(directory, name));
        const before = "RUN echo x >> /before";
        const mounting =
          'RUN --mount=from=one,target=/one grep a /one/a && test "$(cat /before)" = x';
        const text = `${one}FROM ${base}\n${before}\n${mounting}\n`;
        const { made, notices } = await build("one", text, { driver });
        // What has run is found in the store, and its files are there once.
        expect(made).toEqual([before, "COPY a /a", mounting]);
        expect(
          notices.filter((notice) => notice.includes("of the store cannot be read")),
        ).toHaveLength(1);
      },
    );

    test.each([
      ["deleted", "auto"],
      ["truncated", "auto"],
      ["other", "proot"],
    ] as const)(
      "that is %s is made anew, and its record with it, by the driver %s",
      async (way, driver) => {
        await using registry = await startRegistry();
        const base = await pushBase(await busyboxBase(), registry, "library/busybox:latest");
        const { build } = await machines();
        const options = { registryCache: { repository: `${registry.host}/org/cache` }, driver };
        const text = `FROM ${base}\nRUN echo one > /one\n`;
        await build("one", text, options);
        await DAMAGES[way](fileOf(registry, await layerOf(registry, "org/cache", "echo one")));
        const further = `${text}RUN grep one /one\n`;
        const { made, notices } = await build("two", further, options);
        expect(made).toEqual(["RUN echo one > /one", "RUN grep one /one"]);
        expect(notices.filter((notice) => notice.includes("cannot be read"))).toHaveLength(1);
        const third = await build("three", `${further}RUN grep -q one /one\n`, options);
        expect(third.cached).toHaveLength(2);
        expect(third.notices.join("\n")).not.toContain("cannot be read");
      },
    );
  },
);

test.each(WAYS)("a store's layer that is %s is made anew when it is pushed", async (way) => {
  const [{ build, path }, registry] = [await machines(), await memoryRegistry()];
  const destinations = [`${registry.host}/org/app:1`];
  const tarPath = join(path, "image.tar");
  await build("one", ONE, { tarPath });
  const directory = join(path, "store-one", "blobs", "sha256");
  for (const name of await readdir(directory)) await DAMAGES[way](join(directory, name));
  const { made, result } = await build("one", ONE, { destinations });
  expect(made).toContain("COPY a /a");
  expect(isWhole(registry, result.image.digest)).toBe(true);
});

test("a directory's broken layer is made anew, and explained", async () => {
  const { build, path } = await machines();
  const repository = `oci:${path}/cache`;
  const options = { registryCache: { repository, copyLayers: true } };
  await build("one", ONE, { ...options, target: "one" });
  const directory = join(path, "cache", "blobs", "sha256");
  for (const name of await readdir(directory)) {
    const bytes = await readFile(join(directory, name));
    if (bytes[0] === 0x1f) await DAMAGES.other(join(directory, name));
  }
  const { made, notices, why } = await build("two", TWO, options);
  expect(made).toContain("COPY --from=one /a /d");
  expect(notices.length).toBeGreaterThan(0);
  expect(notices[0]).toContain(`of the cache ${path}/cache cannot be read`);
  const [because] = why.get("COPY a /a") ?? [];
  expect(because).toContain(`the layer that the cache ${path}/cache has cannot be read: `);
});

test.each(["registry", "inline"] as const)(
  "a broken layer of a %s cache is made anew, and written again",
  async (type) => {
    const [{ build }, registry] = [await machines(), await memoryRegistry()];
    const ref = `${registry.host}/org/cache:1`;
    const isInline = type === "inline";
    const cacheTo = [isInline ? ({ type } as const) : ({ type, ref, mode: "max" } as const)];
    const one = "FROM scratch\nCOPY a /a\n";
    await build("one", one, { ...(isInline ? { destinations: [ref] } : {}), cacheTo });
    const blobs = registry.blobs.get("org/cache");
    for (const [digest, bytes] of blobs ?? []) if (bytes[0] === 0x1f) blobs?.delete(digest);
    const cacheFrom = [{ type: "registry", ref } as const];
    const other = await memoryRegistry();
    const options = { cacheFrom, destinations: [`${other.host}/org/app:1`] };
    const { made, notices } = await build("two", one, { ...options, cacheTo });
    expect(made).toEqual(["COPY a /a"]);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toContain(`of the cache ${registry.host}/org/cache cannot be read`);
    if (isInline) return;
    const third = await build("three", one, options);
    expect([third.made, third.notices]).toEqual([[], []]);
  },
);

test("a layer that cannot be had twice ends the build", async () => {
  const [{ build }, registry] = [await machines(), await memoryRegistry()];
  const base = `${registry.host}/org/base:1`;
  await build("one", "FROM scratch\nCOPY a /a\n", { destinations: [base] });
  const status = { kind: "status", status: 404, method: "GET", times: 99 } as const;
  registry.fail({ ...status, path: /org\/base\/blobs\/sha256/ });
  const text = `FROM ${base}\nCOPY --from=${base} /a /d\n`;
  await expect(build("two", text, {})).rejects.toThrow("404");
});
