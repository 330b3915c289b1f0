import { expect, test } from "vitest";
import { OCI_MANIFEST } from "../../src/oci/media-types.js";
import { startMemoryRegistry } from "../support/memory-registry.js";
import { at, call, client, randomBlob } from "./images.js";

const layer = randomBlob(1000);

test("a repository is there when it has a tag, and not when the registry does not know its name", async () => {
  await using server = await startMemoryRegistry();
  await using registry = client();
  server.addManifest("org/app", "1", Buffer.from("{}"), OCI_MANIFEST);
  expect(await registry.hasRepository(at(server.host, "org/app"), call())).toBe(true);
  expect(await registry.hasRepository(at(server.host, "org/none"), call())).toBe(false);
});

test.each([
  ["says 403 and that it does not know the name", 403, "NAME_UNKNOWN", "no", false],
  [
    "says, as Harbor does, that nothing was found",
    404,
    "NOT_FOUND",
    "repository org/a not found",
    false,
  ],
  ["lists no tags", 404, "NOT_FOUND", "page not found", true],
  ["refuses to list tags", 401, "UNAUTHORIZED", "no", true],
  ["does not support it", 405, "UNSUPPORTED", "no", true],
] as const)("a registry that %s", async (_, status, code, message, expected) => {
  await using server = await startMemoryRegistry();
  await using registry = client();
  const body = JSON.stringify({ errors: [{ code, message }] });
  server.fail({ kind: "status", status, path: /tags\/list/, times: 9, body });
  expect(await registry.hasRepository(at(server.host, "org/a"), call())).toBe(expected);
});

test("a blob is there in its own length, is not where it is unknown, and may be where nobody says", async () => {
  await using server = await startMemoryRegistry();
  await using registry = client();
  const [app, none] = [at(server.host, "org/app"), at(server.host, "org/none")];
  server.addBlob("org/app", layer.bytes);
  expect(await registry.hasBlob(app, layer.blob, call())).toBe(true);
  expect(await registry.hasBlob(app, { ...layer.blob, size: 999 }, call())).toBe(false);
  expect(await registry.hasBlob(none, layer.blob, call())).toBe(false);
  server.fail({ kind: "status", status: 403, method: "HEAD", times: 9 });
  expect(await registry.hasBlob(none, layer.blob, call())).toBe(true);
});

test("an abort ends both questions with its reason", async () => {
  await using server = await startMemoryRegistry();
  await using registry = client();
  const stopped = { signal: AbortSignal.abort(new Error("enough")) };
  const app = at(server.host, "org/app");
  await expect(registry.hasRepository(app, stopped)).rejects.toThrow("enough");
  await expect(registry.hasBlob(app, layer.blob, stopped)).rejects.toThrow("enough");
});
