// The builders that are measured side by side. Each starts from nothing (`cold`) unless it is given a directory that an
// earlier run left (`warm`), pushes to `destination`, and is one command line for bench/measure.py.
import { join } from "node:path";

/** Those of the list that this machine has. */
export function findTools(support, top, wanted) {
  const all = [tsbuild(top), buildah("buildah", "oci"), buildah("buildah-chroot", "chroot")];
  const named = wanted === undefined ? all : all.filter((tool) => wanted.includes(tool.name));
  return named.filter((tool) => support.lacksTools(...tool.needs) === undefined);
}

function tsbuild(top) {
  return {
    name: "tsbuild",
    needs: ["node"],
    command: ({ context, destination, registry, state }) => [
      process.execPath,
      join(top, "bin/tsbuild.js"),
      "--context",
      context,
      "--destination",
      destination,
      "--insecure-registry",
      registry,
      "--store",
      join(state, "store"),
    ],
  };
}

function buildah(name, isolation) {
  return {
    name,
    needs: ["buildah", ...(isolation === "oci" ? ["runc"] : [])],
    command: ({ context, destination, state }) => {
      const storage = [
        "--root",
        join(state, "root"),
        "--runroot",
        join(state, "run"),
        "--storage-driver",
        "overlay",
      ];
      const words = (...list) => list.map((word) => `'${word}'`).join(" ");
      const build = words(
        "buildah",
        ...storage,
        "build",
        "--layers",
        "--isolation",
        isolation,
        "--network",
        "host",
      );
      const runtime = isolation === "oci" ? "--runtime runc" : "";
      const push = words("buildah", ...storage, "push", "--tls-verify=false", destination);
      return [
        "sh",
        "-c",
        `${build} ${runtime} --tls-verify=false -t '${destination}' '${context}' && ${push}`,
      ];
    },
  };
}
