import { readdir, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, test } from "vitest";
import type { Diagnosis } from "../../src/index.js";
import { busyboxBase } from "../support/bases.js";
import { CHECKOUT, lacksBuild, plainEnvironment } from "../support/tools-cli.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksRoot, lacksTools, run, tempDir, type Outcome } from "../support/tools.js";

/** Steps that read, change, rename, delete and link what the base has, and become what it has set. */
const DOCKERFILE = `FROM base
RUN chmod 1777 /tmp && chmod 4755 /bin/busybox && echo more >> /etc/group
USER 1234
RUN id > /tmp/said; cat /etc/group > /tmp/groups
USER root
COPY Dockerfile /etc/deep/file
RUN mv /etc/passwd /etc/people && ln /etc/people /etc/passwd && rm -rf /home && mkdir -p /home && echo h > /home/new
RUN find /bin /etc /home /tmp -exec stat -c '%n %a %u %g' {} + | sort > /listing && grep -q more /etc/group && cat /etc/deep/file /tmp/groups > /dev/null
`;

describeUnless([lacksRoot(), lacksBuild(), lacksTools("busybox")], "base layers", () => {
  let refused: string | undefined;

  const tsbuild = (...args: readonly string[]): Promise<Outcome> =>
    run(process.execPath, [join(CHECKOUT, "bin/tsbuild.js"), ...args], { env: plainEnvironment() });

  beforeAll(async () => {
    await using dir = await tempDir();
    const outcome = await tsbuild("doctor", "--format=json", `--store=${join(dir.path, "store")}`);
    const { layers } = JSON.parse(outcome.stdout) as Diagnosis;
    refused = layers?.kind === "mounted" ? undefined : (layers?.because ?? "no overlay mounts");
  });
  beforeEach((context) => {
    if (refused !== undefined) context.skip(refused);
  });

  test("are mounted or unpacked for the same image, and the doctor says which", async () => {
    await using dir = await tempDir();
    await writeFile(join(dir.path, "Dockerfile"), DOCKERFILE);
    const base = `base=oci-layout://${await busyboxBase()}:latest`;
    const digests: (string | undefined)[] = [];
    for (const mode of ["auto", "off"]) {
      const store = join(dir.path, `store-${mode}`);
      const flags = [`--context=${dir.path}`, `--build-context=${base}`, `--store=${store}`];
      const outcome = await tsbuild(
        ...flags,
        `--layer-mounts=${mode}`,
        "--driver=overlay",
        "--no-push",
        "--reproducible",
      );
      expectCode(outcome, 0);
      digests.push(/^built (\S+)$/m.exec(outcome.stderr)?.[1]);
      const kinds = await readdir(join(store, "layers"));
      expect(kinds.toSorted()).toEqual(mode === "auto" ? ["erofs", "host"] : ["host"]);
      const doctor = await tsbuild("doctor", `--store=${store}`, `--layer-mounts=${mode}`);
      const said =
        mode === "auto" ? /^layers +mounted as they are/m : /^layers +unpacked: it was asked for/m;
      expect(doctor.stdout).toMatch(said);
    }
    expect(digests[0]).toMatch(/^sha256:/);
    expect(digests[1]).toBe(digests[0]);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(dir.path);
  });
});
