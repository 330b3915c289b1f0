// Runs the conformance cases of the Dockerfile language against this checkout.
//
//   TSBUILD_CONFORMANCE=DIR npm run conformance -- [--user NAME] [--driver NAME] [--out FILE] [arguments of run-cases.mjs]
//
// DIR holds cases.json, make-bases and run-cases.mjs. The bases are made once and kept; a plain registry on loopback
// serves them. With --user the cases are built by that ordinary user (root only). Other arguments, such as
// --filter REGEX, --tier core, --jobs 2 or --verbose, go to run-cases.mjs as they are.
import { spawn } from "node:child_process";
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { chmod, chown, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTypeScript } from "./load-ts.mjs";

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const support = await loadTypeScript(join(top, "test/support/services-for-scripts.ts"));

const { user: userName, out, driver = "auto", rest } = parseArguments(process.argv.slice(2));
const folder = process.env.TSBUILD_CONFORMANCE;
if (folder === undefined || !existsSync(join(folder, "cases.json"))) {
  console.error(
    "TSBUILD_CONFORMANCE must name a folder with cases.json, make-bases and run-cases.mjs",
  );
  process.exit(64);
}
const missing = support.lacksTools("docker-registry", "skopeo", "mmdebstrap", "busybox", "python3");
if (missing !== undefined) {
  console.error(missing);
  process.exit(69);
}
process.exitCode = await main();

function parseArguments(argv) {
  /** @type {{ user?: string, out?: string, driver?: string, rest: string[] }} */
  const parsed = { rest: [] };
  for (let i = 0; i < argv.length; i++) {
    const [, name, value] = /^--(user|out|driver)(?:=(.*))?$/s.exec(argv[i]) ?? [];
    if (name === undefined) parsed.rest.push(argv[i]);
    else parsed[name] = value ?? argv[++i];
  }
  return parsed;
}

async function main() {
  const bases = await support.cached("conformance-bases", (dir) =>
    support.mustRun(join(folder, "make-bases"), [dir]),
  );
  const registry = await support.startRegistry();
  const work = await mkdtemp(join(tmpdir(), "tsbuild-conformance-"));
  try {
    await support.pushBase(join(bases, "busybox"), registry, "library/busybox:latest");
    const slim = "library/debian:bookworm-slim";
    await support.pushBase(join(bases, "debian-bookworm-slim"), registry, slim);
    const user = await findUser(work);
    const results = join(work, "results.json");
    const code = await runCases(registry.host, user, work, results);
    report(results);
    return code;
  } finally {
    await registry[Symbol.asyncDispose]();
    await support.removeTree(work);
  }
}

/** The user to build as, who then owns the scratch directory. */
async function findUser(work) {
  if (userName === undefined) return undefined;
  const makers = {
    "tsbuild-test": support.userWithSubIds,
    "tsbuild-test-nosub": support.userWithoutSubIds,
  };
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${userName}:`));
  const [name, , uid, gid, , home] = line?.split(":") ?? [];
  const user =
    name === undefined
      ? await makers[userName]?.()
      : { name, uid: Number(uid), gid: Number(gid), home };
  if (user === undefined) throw new Error(`no user ${userName}`);
  await chmod(work, 0o755);
  await chown(work, user.uid, user.gid);
  return user;
}

async function runCases(host, user, work, results) {
  const app = user === undefined ? undefined : await support.reachableApp(top, user);
  try {
    const node = app?.node ?? process.execPath;
    const entry = join(app?.dir ?? top, "bin/tsbuild.js");
    const builder =
      `'${node}' '${entry}' --dockerfile {dockerfile} --context {context} --registry-map index.docker.io=${host} ` +
      `--insecure-registry ${host} --driver ${driver} --no-push --oci-layout-path {dest} {args}`;
    const runner = [node, resolve(folder, "run-cases.mjs"), "--builder", builder];
    const argv = [...runner, "--out", results, "--work", join(work, "cases"), ...rest];
    const environment = { TSBUILD_STORE: join(work, "store"), TMPDIR: work };
    if (user === undefined) return await spawned(argv, { ...process.env, ...environment });
    const env = { ...support.userEnvironment(user), ...environment };
    return await spawned(support.asUser(user, argv), env);
  } finally {
    await app?.[Symbol.asyncDispose]();
  }
}

function spawned([command, ...args], env) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { env, stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", fail);
    child.once("close", (code) => done(code ?? 1));
  });
}

function report(results) {
  if (!existsSync(results)) return;
  const { summary, results: cases } = JSON.parse(readFileSync(results, "utf8"));
  const failing = cases.filter((c) => c.status === "fail");
  for (const feature of new Set(failing.map((c) => c.feature))) {
    const { pass, fail } = summary.byFeature[feature];
    const ids = failing.filter((c) => c.feature === feature).map((c) => c.id);
    console.log(`${feature}: ${pass} of ${pass + fail} pass; failing: ${ids.join(", ")}`);
  }
  console.log(`${summary.pass} of ${summary.total - summary.skip} cases pass`);
  if (out !== undefined) copyFileSync(results, out);
}
