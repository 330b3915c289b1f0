import { rmSync } from "node:fs";
import { build } from "esbuild";

export interface Bundle extends Disposable {
  readonly threadFile: string;
  readonly childFile: string;
}

/** The thread's entry and the tests' child process, bundled as the build script does it, where node finds the packages. */
export async function bundleForChildren(name: string = "snapshot-child"): Promise<Bundle> {
  const outdir = `node_modules/.cache/tsbuild-worker-tests-${process.pid}-${name}`;
  await build({
    entryPoints: { thread: "src/worker/root-thread.ts", child: `test/worker/${name}.ts` },
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: ["koffi", "@cloudpss/zstd"],
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  return {
    threadFile: `${process.cwd()}/${outdir}/thread.mjs`,
    childFile: `${process.cwd()}/${outdir}/child.mjs`,
    [Symbol.dispose]: () => rmSync(outdir, { recursive: true, force: true }),
  };
}
