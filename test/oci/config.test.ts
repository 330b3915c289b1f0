import fc from "fast-check";
import { expect, test } from "vitest";
import { TsbuildError } from "../../src/errors.js";
import { parseConfig, serializeConfig } from "../../src/oci/config.js";
import { diffIdFromHex } from "../../src/oci/digest.js";
import { scratchImage } from "../../src/oci/image.js";
import type { Image } from "../../src/oci/types.js";
import { withConfig } from "../support/image-steps.js";

const DIFF_ID = diffIdFromHex("ab".repeat(32));
const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const decode = (bytes: Uint8Array): Record<string, unknown> =>
  JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;

/** All the fields that are kept. */
const FULL = {
  architecture: "arm64",
  author: "someone",
  config: {
    User: "1000:1000",
    ExposedPorts: { "53/udp": {}, "80/tcp": {} },
    Env: ["PATH=/bin", "A=b=c"],
    Entrypoint: ["/entry"],
    Cmd: ["a", "b c"],
    Volumes: { "/data": {}, "/log": {} },
    WorkingDir: "/work",
    Labels: { a: "1", b: "" },
    StopSignal: "SIGINT",
    ArgsEscaped: true,
    Healthcheck: {
      Test: ["CMD", "true"],
      Interval: 30_000_000_000,
      Timeout: 1,
      StartPeriod: 2,
      StartInterval: 3,
      Retries: 4,
    },
    OnBuild: ["RUN x"],
    Shell: ["/bin/bash", "-c"],
  },
  created: "2024-01-02T03:04:05.678Z",
  history: [
    { created: "2024-01-01T00:00:00Z", created_by: "ADD x /", comment: "c", author: "w" },
    { created_by: "ENV A=b", empty_layer: true },
  ],
  os: "linux",
  "os.features": ["win32k"],
  "os.version": "1.2",
  rootfs: { type: "layers", diff_ids: [DIFF_ID] },
  variant: "v8",
};

function imageFrom(bytes: Uint8Array): Image {
  const { config, history, diffIds } = parseConfig(bytes);
  const descriptor = { mediaType: "", digest: "sha256:" as never, size: 0 };
  return {
    ...scratchImage(config.platform),
    config,
    history,
    layers: diffIds.map((diffId) => ({ diffId, descriptor })),
  };
}

test("a config with every field is read, and written as it was", () => {
  const { config, history, diffIds } = parseConfig(encode(FULL));
  expect(config).toEqual({
    platform: { os: "linux", architecture: "arm64", variant: "v8", osVersion: "1.2" },
    author: "someone",
    created: "2024-01-02T03:04:05.678Z",
    env: ["PATH=/bin", "A=b=c"],
    cmd: ["a", "b c"],
    entrypoint: ["/entry"],
    shell: ["/bin/bash", "-c"],
    workingDir: "/work",
    user: "1000:1000",
    labels: { a: "1", b: "" },
    exposedPorts: ["53/udp", "80/tcp"],
    volumes: ["/data", "/log"],
    stopSignal: "SIGINT",
    healthcheck: {
      test: ["CMD", "true"],
      interval: 30_000_000_000,
      timeout: 1,
      startPeriod: 2,
      startInterval: 3,
      retries: 4,
    },
    argsEscaped: true,
    onBuild: ["RUN x"],
    osFeatures: ["win32k"],
  });
  expect(history).toEqual([
    {
      created: "2024-01-01T00:00:00Z",
      createdBy: "ADD x /",
      comment: "c",
      author: "w",
      emptyLayer: false,
    },
    { createdBy: "ENV A=b", emptyLayer: true },
  ]);
  expect(diffIds).toEqual([DIFF_ID]);
  expect(decode(serializeConfig(imageFrom(encode(FULL))))).toEqual(FULL);
});

test("what an image is made with is no part of the next one, as with BuildKit", () => {
  const container = { Hostname: "box", Tty: false, Image: "sha256:x", MacAddress: null };
  const source = {
    ...FULL,
    config: { ...FULL.config, ...container },
    container_config: container,
    docker_version: "20.10",
    id: "x",
    history: FULL.history.map((entry) => ({ ...entry, id: "x" })),
    rootfs: { ...FULL.rootfs, base_layer: "x" },
  };
  expect(decode(serializeConfig(imageFrom(encode(source))))).toEqual(FULL);
});

test("of a health check only what says something is written", () => {
  const source = { ...FULL, config: { Healthcheck: { Test: [], Interval: 0, Retries: 2 } } };
  const written = decode(serializeConfig(imageFrom(encode(source))));
  expect(written["config"]).toEqual({ Healthcheck: { Retries: 2 } });
});

test("keys come in a fixed order, whatever the order of the source", () => {
  const shuffle = (value: unknown): unknown =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(
          Object.entries(value)
            .toReversed()
            .map(([key, item]) => [key, shuffle(item)]),
        )
      : value;
  const written = Buffer.from(serializeConfig(imageFrom(encode(FULL)))).toString();
  expect(Buffer.from(serializeConfig(imageFrom(encode(shuffle(FULL))))).toString()).toBe(written);
  expect(written).toMatch(/^\{"architecture":"arm64","author":.*,"config":\{"User":.*,"variant"/);
});

test("scratch is written with the required fields only", () => {
  const image = scratchImage({ os: "linux", architecture: "amd64" });
  expect(Buffer.from(serializeConfig(image)).toString()).toBe(
    '{"architecture":"amd64","config":{"WorkingDir":"/"},"history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
  );
});

test("an empty list of arguments is left out, as BuildKit does", () => {
  const scratch = scratchImage({ os: "linux", architecture: "amd64" });
  const image = withConfig(scratch, { cmd: [], entrypoint: [] });
  const written = decode(serializeConfig(image));
  expect(written["config"]).toEqual({ WorkingDir: "/" });
  const read = parseConfig(encode(written)).config;
  expect(read.cmd).toBeUndefined();
});

test("null counts as absent, as Go writes it", () => {
  const nulls = Object.fromEntries(Object.keys(FULL.config).map((key) => [key, null]));
  const source = { ...FULL, author: null, history: null, config: nulls };
  const { config, history } = parseConfig(encode(source));
  expect(history).toEqual([]);
  expect(config.env).toEqual([]);
  for (const key of ["cmd", "entrypoint", "shell", "healthcheck", "author", "stopSignal"]) {
    expect(config).not.toHaveProperty(key);
  }
  expect(parseConfig(encode({ ...FULL, config: null })).config.env).toEqual([]);
});

test("a plain string is a list of one argument, as in Docker's first images", () => {
  const source = { rootfs: FULL.rootfs, config: { Cmd: "sh", Entrypoint: "/e" } };
  const { config } = parseConfig(encode(source));
  expect(config).toMatchObject({
    cmd: ["sh"],
    entrypoint: ["/e"],
    platform: { os: "linux", architecture: "amd64" },
  });
});

test("names that mean something to JavaScript are labels like others", () => {
  const labels = '{"__proto__":"p","constructor":"c","toString":"t"}';
  const source = `{"rootfs":{"diff_ids":[]},"config":{"Labels":${labels}}}`;
  const image = imageFrom(Buffer.from(source));
  expect(Object.entries(image.config.labels)).toHaveLength(3);
  const written = Buffer.from(serializeConfig(image)).toString();
  expect(written).toContain(labels.replace('"__proto__":"p",', "").slice(1, -1));
  expect(written).toContain('"__proto__":"p"');
});

test.each([
  ["nothing", "", "is not JSON"],
  ["a list", "[]", "is a list instead of an object"],
  ["half a document", '{"os":', "is not JSON"],
  ["an artifact", "{}", "rootfs.diff_ids is missing"],
  ["a null list of layers", '{"rootfs":{"diff_ids":null}}', "rootfs.diff_ids is missing"],
  ["a bad diff id", '{"rootfs":{"diff_ids":["x"]}}', "rootfs.diff_ids[0] is not a sha256"],
  ["Env of numbers", '{"rootfs":{"diff_ids":[]},"config":{"Env":[1]}}', "config.Env[0] is a num"],
  ["Env as a map", '{"rootfs":{"diff_ids":[]},"config":{"Env":{}}}', "config.Env is an object"],
  ["a label that is a number", '{"rootfs":{"diff_ids":[]},"config":{"Labels":{"a":1}}}', '["a"]'],
  ["ports as a list", '{"rootfs":{"diff_ids":[]},"config":{"ExposedPorts":["80"]}}', "a list"],
  ["a user that is a number", '{"rootfs":{"diff_ids":[]},"config":{"User":1}}', "config.User"],
  ["history of strings", '{"rootfs":{"diff_ids":[]},"history":["x"]}', "history[0] is a string"],
  [
    "a fraction of retries",
    '{"rootfs":{"diff_ids":[]},"config":{"Healthcheck":{"Retries":1.5}}}',
    "Retries",
  ],
  ["deep nesting", `{"a":${"[".repeat(200_000)}`, "is not JSON"],
])("%s is one clear error", (_, source, why) => {
  let caught: unknown;
  try {
    parseConfig(Buffer.from(source));
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(TsbuildError);
  expect((caught as TsbuildError).message).toMatch(/^tried to read an image config: /);
  expect((caught as TsbuildError).message).toContain(why);
});

test("any JSON is read, or refused with our own error", () => {
  const keys = [...Object.keys(FULL), ...Object.keys(FULL.config), "diff_ids"];
  const json = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      fc.jsonValue({ maxDepth: 1 }),
      fc.dictionary(fc.constantFrom(...keys), tie("node"), { maxKeys: 6 }),
    ),
  })).node;
  fc.assert(
    fc.property(json, (value) => {
      const source = { rootfs: { diff_ids: [DIFF_ID] }, ...(value as object) };
      let image: Image;
      try {
        image = imageFrom(encode(source));
      } catch (error) {
        expect(error).toBeInstanceOf(TsbuildError);
        return;
      }
      const written = serializeConfig(image);
      expect(Buffer.from(serializeConfig(imageFrom(written)))).toEqual(Buffer.from(written));
    }),
    { numRuns: 500 },
  );
});
