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
  "git-remote": ["errors", "internal", "context"],
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

/** An import or export statement, or an `import()`; a string that only looks like one is none. */
const IMPORT = /(?:^|\n)(?:import|export)\b(?:[^;"']*?\bfrom)?\s*"([^"]+)"|\bimport\(\s*"([^"]+)"/g;

function filesOf(room: string): readonly string[] {
  const file = join("src", `${room}.ts`);
  const directory = join("src", room);
  const below = existsSync(directory)
    ? readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
        .map((entry) => join(entry.parentPath, entry.name))
    : [];
  return existsSync(file) ? [file, ...below] : below;
}

function* imports(room: string): Generator<{ file: string; spec: string; target: string }> {
  for (const file of filesOf(room)) {
    for (const [, named, called] of readFileSync(file, "utf8").matchAll(IMPORT)) {
      const spec = named ?? called ?? "";
      if (spec.startsWith("node:")) continue;
      const [top = ""] = relative("src", normalize(join(dirname(file), spec))).split("/");
      yield { file, spec, target: spec.startsWith(".") ? top.replace(/\.js$/, "") : `npm:${spec}` };
    }
  }
}

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

test("every file below src belongs to a room", () => {
  const rooms = new Set(Object.keys(MAY_IMPORT));
  const strays = readdirSync("src").filter((name) => !rooms.has(name.replace(/\.ts$/, "")));
  expect(strays).toEqual([]);
});

test("each package has one importing file in a room", () => {
  const importers = new Map<string, Set<string>>();
  for (const room of Object.keys(MAY_IMPORT)) {
    for (const { file, target } of imports(room)) {
      if (!target.startsWith("npm:")) continue;
      const key = `${target} in ${room}`;
      importers.set(key, (importers.get(key) ?? new Set()).add(file));
    }
  }
  const shared = [...importers].filter(([, files]) => files.size > 1);
  expect(shared.map(([name, files]) => `${name}: ${[...files].join(", ")}`)).toEqual([]);
});
