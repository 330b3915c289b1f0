import { expect, test } from "vitest";
import { buildOptions } from "../../src/cli/build-options.js";
import { idleCacheFlags } from "../../src/cli/cache.js";
import { parseFlags } from "../../src/cli/parse-flags.js";

const optionsOf = (...argv: string[]) => buildOptions(parseFlags(argv), {});

test("without --cache=true there is no cache in a registry, and flags about it are said to be idle", () => {
  expect(optionsOf("--cache-repo=example.com/a").registryCache).toBeUndefined();
  expect(optionsOf("--cache=false", "--cache-repo=example.com/a").cache).toBe(false);
  expect(idleCacheFlags(parseFlags(["--cache-repo=example.com/a", "--cache-ttl=1h"]))).toEqual([
    "--cache-repo makes no difference without --cache=true",
    "--cache-ttl makes no difference without --cache=true",
  ]);
  expect(idleCacheFlags(parseFlags(["--cache=false", "--cache-ttl=1h"]))).toEqual([]);
});

test("Kaniko's flags are read as Kaniko reads them", () => {
  expect(optionsOf("--cache").registryCache).toEqual({});
  const all = optionsOf(
    "--cache=true",
    "--cache-repo=oci:/c",
    "--cache-ttl=6h",
    "--cache-run-layers=false",
    "--cache-copy-layers",
    "--no-push-cache",
  );
  expect(all.registryCache).toEqual({
    repository: "oci:/c",
    ttl: "6h",
    runLayers: false,
    copyLayers: true,
    push: false,
  });
});

test("a build that pushes nothing has to say where its cache is", () => {
  expect(() => optionsOf("--cache", "--no-push")).toThrow("nothing says where layers are kept");
  expect(optionsOf("--cache", "--no-push", "--no-push-cache").registryCache).toBeUndefined();
  const looking = optionsOf("--cache", "--no-push", "--no-push-cache", "--destination=a/b");
  expect(looking.registryCache).toEqual({ push: false });
  expect(optionsOf("--cache", "--no-push", "--cache-repo=a/b").registryCache).toEqual({
    repository: "a/b",
  });
});

test("--cache-from and --cache-to are read as buildx reads them", () => {
  const { cacheFrom, cacheTo } = optionsOf(
    "--cache-from=example.com/app:main",
    "--cache-from=type=registry,ref=example.com/app:cache",
    "--cache-from=type=local,src=/in,tag=x",
    "--cache-to=type=registry,ref=example.com/app:cache,mode=max,image-manifest=true,oci-mediatypes=true",
    "--cache-to=type=local,dest=/out,ignore-error=true",
    "--cache-to=type=inline",
  );
  expect(optionsOf("--cache-mounts=example.com/m").cacheMounts).toBe("example.com/m");
  expect(cacheFrom).toEqual([
    { type: "registry", ref: "example.com/app:main" },
    { type: "registry", ref: "example.com/app:cache" },
    { type: "local", src: "/in", tag: "x" },
  ]);
  expect(cacheTo).toEqual([
    { type: "registry", ref: "example.com/app:cache", mode: "max" },
    { type: "local", dest: "/out" },
    { type: "inline" },
  ]);
});

test.each([
  ["--cache-to=type=gha", "type gha is not supported"],
  ["--cache-from=type=s3,region=x", "type s3 is not supported"],
  ["--cache-to=type=azblob", "type azblob is not supported"],
  ["--cache-from=type=inline", "no such type"],
  ["--cache-to=type=local", "it has no dest"],
  ["--cache-to=type=registry,ref=a/b,mode=most", "mode is min or max"],
  ["--cache-to=type=registry,ref=a/b,compression=zstd", 'has no field "compression"'],
  ["--cache-to=type=registry,ref=a/b,ignore-error=false", "ignore-error cannot be false"],
  ['--cache-to=type=local,"dest', '--cache-to "type=local'],
])("%s is refused", (flag, why) => {
  expect(() => optionsOf(flag)).toThrow(why);
});
