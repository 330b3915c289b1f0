import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { start, type BuildEvent, type BuildOptions, type BuildResult } from "../../src/index.js";
import { isImmutableTagError, RegistryError } from "../../src/registry/index.js";
import type { MemoryRegistry } from "../support/memory-registry.js";
import { tempDir } from "../support/tools.js";
import { memoryRegistry, workshop } from "./pushing.js";

interface Told {
  readonly result: BuildResult;
  readonly notices: readonly string[];
}

async function buildTelling(
  { host }: MemoryRegistry,
  options: Partial<BuildOptions>,
): Promise<Told> {
  await using dir = await tempDir();
  const { store } = await workshop();
  await writeFile(join(dir.path, "Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
  const destinations = [`${host}/app:1`, `${host}/app:2`, `${host}/other:1`];
  await using running = start({ context: dir.path, store, destinations, ...options });
  const notices: string[] = [];
  const listen = async (events: AsyncIterable<BuildEvent>): Promise<void> => {
    for await (const event of events) if (event.type === "notice") notices.push(event.message);
  };
  const [result] = await Promise.all([running.result, listen(running.events)]);
  return { result, notices };
}

describe("a tag that exists and may not be moved", () => {
  const immutableTags = new Set(["1"]);

  test("fails the build", async () => {
    const registry = await memoryRegistry({ immutableTags });
    await expect(buildTelling(registry, {})).rejects.toThrow("400 TAG_INVALID");
  });

  test("is left alone and said where that is wanted, and the other destinations are pushed", async () => {
    const registry = await memoryRegistry({ immutableTags });
    const { result, notices } = await buildTelling(registry, {
      pushIgnoreImmutableTagErrors: true,
    });
    const { host, manifests } = registry;
    expect(result.pushed).toEqual([`${host}/app:2`]);
    expect(manifests.get("app")?.has("2")).toBe(true);
    const said = notices.filter((line) => line.includes("immutable"));
    expect(said).toEqual([
      `${host}/app:1 stays what it is: the tag exists and is immutable`,
      `${host}/other:1 stays what it is: the tag exists and is immutable`,
    ]);
  });

  test("is no excuse for another refusal", async () => {
    const registry = await memoryRegistry({ immutableTags });
    registry.fail({ kind: "status", method: "PUT", path: /manifests\/1/, status: 403, times: 9 });
    const options = { pushIgnoreImmutableTagErrors: true, skipPushPermissionCheck: true };
    await expect(buildTelling(registry, options)).rejects.toThrow("403");
  });
});

test.each([
  "The image tag '1' already exists in the 'app' repository and cannot be overwritten because the tag is immutable.",
  "The image tag '1' already exists in the 'app' repository and cannot be overwritten because the repository is immutable.",
  "cannot update tag 1. The repository has enabled tag immutability",
  "Failed to process request due to 'app:1' configured as immutable.",
  "This tag is already assigned to an image in this repository and cannot be updated due to immutability settings.",
])("what registries say of it: %s", (message) => {
  const faults = [{ code: "", message }];
  expect(isImmutableTagError(new RegistryError("REGISTRY_UNAVAILABLE", "x", { faults }))).toBe(
    true,
  );
});

test("what else they say of tags is something else", () => {
  for (const message of ["invalid tag name", "the tag is locked", "manifest invalid"]) {
    const faults = [{ code: "TAG_INVALID", message }];
    const error = new RegistryError("REGISTRY_UNAVAILABLE", "x", { faults });
    expect(isImmutableTagError(error), message).toBe(false);
  }
});
