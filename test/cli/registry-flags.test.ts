import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startRegistry } from "../support/services.js";
import { makeAuthority } from "../support/tls.js";
import { CHECKOUT, lacksBuild, plainEnvironment } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, run, tempDir, type Outcome } from "../support/tools.js";

describeUnless([lacksBuild(), lacksTools("docker-registry", "openssl")], "the command", () => {
  test("pushes to a registry that wants to know who asks, and pulls from one that nobody vouches for", async () => {
    await using dir = await tempDir("tsbuild-registry-flags-");
    const people = await makeAuthority(join(dir.path, "people"), "people");
    const alice = await people.issue("alice", "DNS:alice");
    await using mutual = await startRegistry({
      tls: true,
      clientAuthority: people.certificateFile,
    });
    await using open = await startRegistry({ tls: true });
    const context = join(dir.path, "context");
    await mkdir(context);
    await writeFile(join(context, "base"), "FROM scratch\nCOPY base /\n");
    await writeFile(join(context, "top"), `FROM ${open.host}/base:1\nCOPY top /\n`);
    const tsbuild = (...flags: readonly string[]): Promise<Outcome> =>
      run(process.execPath, [join(CHECKOUT, "bin/tsbuild.js"), `--context=${context}`, ...flags], {
        env: plainEnvironment(),
      });
    const store = `--store=${join(dir.path, "store")}`;
    const base = await tsbuild(store, "-f=base", `-d=${open.host}/base:1`, "--skip-tls-verify");
    expect(base).toMatchObject({ code: 0 });

    const pushed = [`-d=${mutual.host}/top:1`, "-f=top", `--store=${join(dir.path, "other")}`];
    const known = [
      `--registry-certificate=${mutual.host}=${mutual.caFile ?? ""}`,
      `--registry-client-cert=${mutual.host}=${alice.certificateFile},${alice.keyFile}`,
    ];
    const unverified = await tsbuild(...pushed, ...known);
    expect(unverified).toMatchObject({ code: 75 });
    expect(unverified.stderr).toContain(`--registry-certificate=${open.host}=FILE`);
    const done = await tsbuild(...pushed, ...known, "--skip-tls-verify-pull");
    expect(done).toMatchObject({ code: 0 });
    expect(done.stderr).toContain(`pushed ${mutual.host}/top:1`);
    const stranger = await tsbuild(...pushed, "--skip-tls-verify-pull");
    expect(stranger).toMatchObject({ code: 75 });
    const missing = await tsbuild(...pushed, `--registry-certificate=${mutual.host}=/none.pem`);
    expect(missing).toMatchObject({ code: 64 });
    expect(missing.stderr).toContain("/none.pem cannot be read (ENOENT)");
  });
});
