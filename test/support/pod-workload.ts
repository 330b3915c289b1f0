/**
 * The one build that every securityContext is tried with: packages, users, set-id files, USER, two stages, cache and
 * secret mounts. Its package comes from a repository in the context, so that no network is needed.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { byPath, type JudgedImage } from "./tools-images.js";
import { mustRun } from "./tools.js";
import type { TarEntry } from "./tools-tar.js";

export const WORKLOAD_SECRET = "pod-s3cret";
const PACKAGE = "tsbuild-probe";
const DEB = `${PACKAGE}_1.0_all.deb`;

/** `base` is a reference of Debian. */
function dockerfile(base: string): string {
  return `FROM ${base} AS tools
RUN --mount=type=cache,target=/var/cache/tool echo 1 >/var/cache/tool/made
RUN --mount=type=cache,target=/var/cache/tool test "$(cat /var/cache/tool/made)" = 1 && \\
    install -D -m 2755 -o daemon -g mail /bin/true /out/bin/tool && ln /out/bin/tool /out/bin/same && \\
    ln -s tool /out/bin/link && install -d -o 4321 -g 8765 -m 1777 /out/drop
RUN --mount=type=secret,id=token test "$(cat /run/secrets/token)" = ${WORKLOAD_SECRET}

FROM ${base}
ENV DEBIAN_FRONTEND=noninteractive
RUN --mount=type=bind,source=repository,target=/repository \\
    echo "deb [trusted=yes] file:/repository ./" >/tmp/probe.list && \\
    apt="apt-get -qq -o Dir::Etc::sourcelist=/tmp/probe.list -o Dir::Etc::sourceparts=-" && \\
    $apt update && $apt install -y --no-install-recommends ${PACKAGE} && \\
    rm -rf /tmp/probe.list /var/lib/apt/lists/* /var/cache/apt/*.bin && ${PACKAGE}
RUN useradd --create-home --uid 1234 app && rm -r /usr/share/base-files
COPY --from=tools /out /opt/tool
COPY --chown=app:daemon --chmod=640 note /home/app/
USER app
RUN test "$(id -un)" = app && test ! -e /run/secrets/token && umask 027 && id >~/mine && cat /proc/self/comm >>~/mine
CMD ["${PACKAGE}"]
`;
}

/** What installing a package does as root: a user of its own, files that belong to it, a set-uid program. */
const POSTINST = `#!/bin/sh
set -e
useradd --system --home-dir /var/lib/${PACKAGE} --shell /usr/sbin/nologin probe
install -d -o probe -g probe -m 2750 /var/lib/${PACKAGE}
chown probe:mail /usr/bin/${PACKAGE}-helper
chmod 4754 /usr/bin/${PACKAGE}-helper
su -s /bin/sh -c 'id -u >/var/lib/${PACKAGE}/owner' probe
`;

/** Writes the context into a directory that does not exist yet. */
export async function writeWorkload(dir: string, base: string): Promise<void> {
  const repository = join(dir, "repository");
  await mkdir(repository, { recursive: true });
  await writeFile(join(dir, "Dockerfile"), dockerfile(base));
  await writeFile(join(dir, "note"), "note\n");
  const deb = await makePackage(join(dir, "package"));
  await rename(deb, join(repository, DEB));
  await rm(join(dir, "package"), { recursive: true });
  const bytes = await readFile(join(repository, DEB));
  const control = await mustRun("dpkg-deb", ["--field", join(repository, DEB)]);
  const sum = createHash("sha256").update(bytes).digest("hex");
  const index = `${control}Filename: ./${DEB}\nSize: ${bytes.length}\nSHA256: ${sum}\n`;
  await writeFile(join(repository, "Packages"), index);
  await mustRun("chmod", ["-R", "u+rwX,go+rX", dir]); // whoever the Pod is
}

async function makePackage(dir: string): Promise<string> {
  const control = join(dir, "DEBIAN");
  const bin = join(dir, "usr/bin");
  await Promise.all([control, bin].map((path) => mkdir(path, { recursive: true })));
  const fields = [
    `Package: ${PACKAGE}`,
    "Version: 1.0",
    "Architecture: all",
    "Maintainer: nobody <nobody@localhost>",
    "Description: what a build has to cope with",
  ];
  await writeFile(join(control, "control"), `${fields.join("\n")}\n`);
  await writeFile(join(control, "postinst"), POSTINST, { mode: 0o755 });
  await writeFile(join(bin, PACKAGE), "#!/bin/sh\necho probe runs\n", { mode: 0o755 });
  await writeFile(join(bin, `${PACKAGE}-helper`), "#!/bin/sh\n", { mode: 0o755 });
  await mustRun("chmod", ["-R", "u=rwX,go=rX", dir]);
  const deb = `${dir}.deb`;
  await mustRun("dpkg-deb", ["--root-owner-group", "--build", dir, deb]);
  return deb;
}

/** Files whose content tells when a build ran. */
const VOLATILE =
  /^(var\/log\/|var\/cache\/|var\/lib\/dpkg\/status-old|var\/lib\/apt\/extended_states)/;

/**
 * What the layers above `baseLayers` say, by path: everything but times. A directory that is as it was in the base says
 * nothing: only the time of it changed, which not every way to take a snapshot sees.
 */
export function contentOf(image: JudgedImage, baseLayers: number): Record<string, string> {
  const base = new Map<string, string>();
  const content: Record<string, string> = {};
  for (const [i, layer] of image.layers.entries()) {
    for (const [path, entry] of byPath(layer)) {
      const text = describeEntry(entry);
      if (i < baseLayers) base.set(path, text);
      else if (!VOLATILE.test(path) && !(entry.type === "dir" && base.get(path) === text)) {
        content[path] = text;
      }
    }
  }
  return content;
}

function describeEntry(entry: TarEntry): string {
  const { type, mode, uid, gid, linkname, data } = entry;
  const sum = data.length === 0 ? "" : createHash("sha256").update(data).digest("hex").slice(0, 16);
  return `${type} ${mode.toString(8)} ${uid}:${gid} ${linkname} ${data.length} ${sum}`;
}
