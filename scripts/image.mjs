// Builds the executor image with this checkout, without a daemon: `npm run image -- [TARGET] [flags of tsbuild]`.
//
//   npm run image                                                  an OCI layout in image/executor
//   npm run image -- debug --destination=registry.example/tsbuild:debug
//
// TARGET is executor, debug or slim. Without a --destination and another output nothing is pushed. Another base than
// Docker Hub's debian:trixie-slim: --build-arg=DEBIAN=NAME, with --build-context=NAME=… or --registry-map=….
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const TARGETS = ["executor", "debug", "slim"];
const OUTPUTS = /^(-d|--destination|-o|--output|--oci-layout-path|--tar-path)(=|$)/;

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const words = process.argv.slice(2);
const target = TARGETS.includes(words[0] ?? "") ? words.shift() : "executor";
const flags = [
  `--context=${top}`,
  `--dockerfile=${join(top, "deploy/executor/Dockerfile")}`,
  `--target=${target}`,
  "--reproducible",
  "--compression-level=9",
];
// What this machine needs to reach npm's registry, the build needs too; a secret is in no layer and in no key.
const certificates = process.env["NODE_EXTRA_CA_CERTS"];
if (certificates !== undefined) flags.push(`--secret=id=ca,src=${certificates}`);
if (!words.some((word) => OUTPUTS.test(word))) {
  const layout = join(top, "image", target);
  rmSync(layout, { recursive: true, force: true });
  flags.push("--no-push", `--oci-layout-path=${layout}`);
}
const build = spawnSync(process.execPath, [join(top, "bin/tsbuild.js"), ...flags, ...words], {
  stdio: "inherit",
});
process.exitCode = build.status ?? 70;
