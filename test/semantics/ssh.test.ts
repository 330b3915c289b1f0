import { execFile } from "node:child_process";
import { cp, mkdir, readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { useBench } from "./support.js";

const run = promisify(execFile);
const bench = useBench();
const PROGRAMS = ["/usr/bin/ssh-add", "/usr/bin/ssh-keygen"];
let tools = "";

/** OpenSSH's programs with their libraries: a context to mount, whatever the image has. */
beforeAll(async () => {
  tools = join(bench.path, "openssh");
  await mkdir(join(tools, "lib"), { recursive: true });
  for (const program of PROGRAMS) {
    await cp(program, join(tools, basename(program)));
    const { stdout } = await run("ldd", [program]);
    for (const [path] of stdout.matchAll(/\/\S+/g)) {
      await cp(await realpath(path), join(tools, "lib", basename(path)));
    }
  }
});

/** Runs one of them without a C library in the image. */
const openssh = (program: string): string =>
  `$(echo /openssh/lib/ld-linux-*) --library-path /openssh/lib /openssh/${program}`;
const MOUNTS = "--mount=from=openssh,target=/openssh --mount=type=ssh";

async function keygen(name: string, ...args: readonly string[]): Promise<string> {
  const path = join(bench.path, "keys", name);
  await mkdir(dirname(path), { recursive: true });
  await run("ssh-keygen", ["-q", "-N", "", "-C", "me@laptop", "-f", path, ...args]);
  return path;
}

describe("a private key given with --ssh", () => {
  test("lists and signs for a step, and nothing of it is in the image or the output", async () => {
    const keys = [
      await keygen("rsa", "-t", "rsa", "-b", "2048", "-m", "PEM"),
      await keygen("ecdsa", "-t", "ecdsa"),
      await keygen("ed25519", "-t", "ed25519"),
    ];
    const files = Object.fromEntries(
      await Promise.all(
        keys.map(async (key) => [`${basename(key)}.pub`, await readFile(`${key}.pub`, "utf8")]),
      ),
    ) as Record<string, string>;
    const built = await bench.build(
      [
        "FROM busybox",
        "RUN mkdir -p /etc && echo 'root:x:0:0:root:/:/bin/sh' > /etc/passwd",
        "COPY *.pub /keys/",
        `RUN ${MOUNTS} ${openssh("ssh-add")} -L && ${openssh("ssh-add")} -T /keys/*.pub`,
        `RUN ${MOUNTS} echo text | ${openssh("ssh-keygen")} -Y sign -n file -f /keys/ed25519.pub > /signature`,
        `RUN ${MOUNTS} ! ${openssh("ssh-add")} -D && ! ${openssh("ssh-add")} -d /keys/rsa.pub`,
        `RUN ${MOUNTS},id=deploy,uid=7,mode=0600 ${openssh("ssh-add")} -l | wc -l > /count`,
        'RUN [ -z "$SSH_AUTH_SOCK" ]',
      ],
      {
        files,
        buildContexts: { openssh: tools },
        sshAgents: { default: keys, deploy: keys.slice(0, 1) },
      },
    );
    for (const text of Object.values(files)) {
      expect(built.output).toContain(text.split(" ").slice(0, 2).join(" "));
    }
    expect(built.output).not.toContain("laptop");
    expect(built.text("signature")).toContain("BEGIN SSH SIGNATURE");
    expect(built.text("count")?.trim()).toBe("1");
    // The layers of this build; the base's has the same large program under hundreds of names.
    const written = built.layers.slice(1).flatMap((layer) => [...layer.values()]);
    const everything = [
      built.output,
      JSON.stringify(built.config),
      ...written.map(({ data }) => data.toString("latin1")),
    ].join("\n");
    for (const key of keys) {
      const [, line = ""] = (await readFile(key, "utf8")).split("\n");
      expect(line.length).toBeGreaterThan(40);
      expect(everything).not.toContain(line);
    }
  });

  test("one that cannot be used stops the build before its first step", async () => {
    const key = await keygen("locked", "-t", "ed25519");
    await run("ssh-keygen", ["-q", "-p", "-P", "", "-N", "secret", "-f", key]);
    const failed = await bench.fails(["FROM busybox", "RUN echo started"], {
      sshAgents: { default: key },
    });
    expect(failed.message).toContain("this private key is passphrase protected");
    expect(failed.output).toBe("");
  });
});
