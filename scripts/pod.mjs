// Runs tsbuild, or any command, in a Pod of this machine with a chosen securityContext. Root only; see CONTRIBUTING.md.
//
//   node scripts/pod.mjs CONTEXT [options] -- arguments of tsbuild
//   node scripts/pod.mjs CONTEXT [options] --command -- sh -c 'id; cat /proc/self/status'
//   node scripts/pod.mjs --list
//
// The image is Debian, node and this checkout's dist, or an OCI layout or archive by --image. Options: --volume
// SRC:DST[:ro] (a hostPath), --secret DST/FILE=PATH (a Secret of one file), --env NAME=VALUE, --workdir DIR,
// --runner kube|crun, --runtime crun|runc, --manifest (prints the Pod instead of running it).
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadTypeScript } from "./load-ts.mjs";

const top = dirname(dirname(fileURLToPath(import.meta.url)));
const support = await loadTypeScript(join(top, "test/support/pods-for-scripts.ts"));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: "boolean" },
    manifest: { type: "boolean" },
    command: { type: "boolean" },
    image: { type: "string" },
    volume: { type: "string", multiple: true, short: "v", default: [] },
    secret: { type: "string", multiple: true, default: [] },
    env: { type: "string", multiple: true, short: "e", default: [] },
    workdir: { type: "string" },
    runner: { type: "string" },
    runtime: { type: "string" },
  },
});
process.exitCode = await main();

async function main() {
  const [name, ...words] = positionals;
  if (values.list || name === undefined || !support.isContextName(name)) {
    for (const known of support.CONTEXT_NAMES) {
      console.log(`${known.padEnd(26)} ${support.podContext(known).summary}`);
    }
    return values.list ? 0 : 64;
  }
  const lacks = support.lacksPods();
  if (lacks !== undefined) {
    console.error(lacks);
    return 69;
  }
  const request = requestOf(support.podContext(name), words);
  if (values.manifest) {
    console.log(support.manifestOf(request));
    return 0;
  }
  const shared = request.volumes.filter((volume) => volume.kind === "host");
  const host = await support.startPods({
    checkout: top,
    app: values.image === undefined,
    writable: shared.map((volume) => volume.source),
  });
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, () => host[Symbol.asyncDispose]().then(() => process.exit(130)));
  }
  try {
    if (values.image !== undefined) {
      await support.loadImage(host, resolve(values.image), request.image);
    }
    const outcome = await support.runInPod(host, request, {
      ...(values.runner === undefined ? {} : { runner: values.runner }),
      ...(values.runtime === undefined ? {} : { runtime: values.runtime }),
      onStart: (child) => {
        child.stdout.pipe(process.stdout, { end: false });
        child.stderr.pipe(process.stderr, { end: false });
      },
    });
    return outcome.code ?? 70;
  } finally {
    await host[Symbol.asyncDispose]();
  }
}

function requestOf(context, words) {
  return {
    context,
    image: values.image === undefined ? support.APP_IMAGE : "localhost/tsbuild-test/given:latest",
    ...(values.command ? { command: words } : { args: words }),
    env: Object.fromEntries(values.env.map((word) => splitAt(word, "="))),
    ...(values.workdir === undefined ? {} : { workingDir: values.workdir }),
    volumes: [...values.volume.map(hostVolume), ...values.secret.map(secretVolume)],
  };
}

function hostVolume(word) {
  const [source, path, option] = word.split(":");
  if (!existsSync(source)) throw new Error(`no ${source}`);
  return { kind: "host", source: resolve(source), path, readOnly: option === "ro" };
}

function secretVolume(word) {
  const [place, file] = splitAt(word, "=");
  return {
    kind: "secret",
    path: dirname(place),
    files: { [basename(place)]: readFileSync(file, "utf8") },
  };
}

function splitAt(word, mark) {
  const at = word.indexOf(mark);
  if (at < 1) throw new Error(`${word} has no ${mark}`);
  return [word.slice(0, at), word.slice(at + 1)];
}
