import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { expect, test } from "vitest";

/** What each room may import, besides itself and node built-ins. Read top to bottom: arrows only point up this list. A package's subpath counts as the package. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  errors: [],
  internal: ["errors", "npm:undici"], // internal/http.ts alone: proxies, CAs, pools
  oci: ["errors", "internal"],
  dockerfile: ["errors", "internal", "oci"],
  context: ["errors", "internal", "oci", "npm:fast-glob", "npm:tar-stream"],
  registry: ["errors", "internal", "oci"],
  store: ["errors", "internal", "oci", "npm:tar-stream"],
  layer: ["errors", "internal", "oci", "npm:@cloudpss/zstd"],
  worker: ["errors", "internal", "oci", "layer", "npm:koffi"],
  solver: [
    "errors",
    "internal",
    "oci",
    "dockerfile",
    "context",
    "registry",
    "store",
    "layer",
    "worker",
  ],
  build: [
    "errors",
    "internal",
    "oci",
    "dockerfile",
    "context",
    "registry",
    "store",
    "layer",
    "worker",
    "solver",
  ],
  child: ["errors", "internal", "oci", "layer", "worker"],
  index: ["build", "solver", "errors", "registry", "dockerfile", "worker", "oci"],
  cli: ["index"],
};
/** The solver knows drivers by their types only. */
const TYPES_ONLY: readonly [string, string][] = [
  ["solver", "worker"],
  ["solver", "registry"],
  ["solver", "store"],
  ["solver", "context"],
];

const imports = function* (room: string) {
  const files = existsSync(join("src", `${room}.ts`))
    ? [join("src", `${room}.ts`)]
    : readdirSync(join("src", room), { recursive: true, withFileTypes: true })
        .filter((e) => e.isFile() && e.name.endsWith(".ts"))
        .map((e) => join(e.parentPath, e.name));
  for (const file of files) {
    for (const [, spec = ""] of readFileSync(file, "utf8").matchAll(
      /(?:from|import)\s*\(?\s*"([^"]+)"/g,
    )) {
      if (spec.startsWith("node:")) continue;
      const target = spec.startsWith(".")
        ? relative("src", normalize(join(dirname(file), spec)))
            .split("/")[0]!
            .replace(/\.js$/, "")
        : `npm:${spec}`;
      yield { file, spec, target };
    }
  }
};

test.each(
  Object.keys(MAY_IMPORT).filter(
    (room) => existsSync(join("src", room)) || existsSync(join("src", `${room}.ts`)),
  ),
)("%s imports only what the map allows", (room) => {
  const strays = [...imports(room)].filter(
    ({ target }) => target !== room && !MAY_IMPORT[room]!.includes(target),
  );
  expect(strays.map(({ file, spec }) => `${file} -> ${spec}`)).toEqual([]);
});

test.each(TYPES_ONLY)("%s imports %s by its types only", (room, other) => {
  const strays = [...imports(room)].filter(
    ({ target, spec }) => target === other && !spec.endsWith("/types.js"),
  );
  expect(strays.map(({ file, spec }) => `${file} -> ${spec}`)).toEqual([]);
});
