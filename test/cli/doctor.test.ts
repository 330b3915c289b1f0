import { join } from "node:path";
import { expect, test } from "vitest";
import type { Diagnosis } from "../../src/index.js";
import { lacksBuild, CHECKOUT, plainEnvironment } from "../support/tools-cli.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksRoot, run, tempDir, type Outcome } from "../support/tools.js";

/** This machine with a /proc that is covered as a container's is, and without some capabilities. */
function contained(without: readonly string[]): readonly string[] {
  const drop = without.map((name) => `-${name}`).join(",");
  const script = `mount --bind /dev/null /proc/interrupts && exec setpriv --bounding-set=${drop} --inh-caps=${drop} -- "$@"`;
  return ["unshare", "--mount", "sh", "-c", script, "sh"];
}

describeUnless([lacksRoot(), lacksBuild()], "tsbuild doctor", () => {
  async function doctor(
    args: readonly string[],
    wrapper: readonly string[] = [],
  ): Promise<Outcome> {
    await using dir = await tempDir();
    const [command = "", ...rest] = [
      ...wrapper,
      process.execPath,
      join(CHECKOUT, "bin/tsbuild.js"),
      "doctor",
      `--store=${join(dir.path, "store")}`,
      ...args,
    ];
    return await run(command, rest, { env: plainEnvironment() });
  }

  test("says which driver a build takes, and on what evidence", async () => {
    const outcome = await doctor([]);
    expectCode(outcome, 0);
    expect(outcome.stdout).toMatch(/^driver +overlay, ids host$/m);
    for (const name of ["store", "user", "capabilities", "seccomp", "kernel", "/proc"]) {
      expect(outcome.stdout).toMatch(new RegExp(`^${name} +\\S`, "m"));
    }
    expect(outcome.stderr).toBe("");
  });

  test("tells what a container's capabilities and its /proc allow, and what would allow more", async () => {
    const outcome = await doctor(["--format=json"], contained(["sys_admin", "setfcap"]));
    expectCode(outcome, 0);
    const found = JSON.parse(outcome.stdout) as Diagnosis;
    expect(found).toMatchObject({ driver: "overlay", idMap: "0-100000-65536" });
    expect(found.limits.join()).toContain("see the processes of the Pod");
    expect(found.facts).toMatchObject({ uid: 0, hidesProc: true });
    expect(found.facts.capabilities).not.toContain("SETFCAP");
    expect(found.podSpec).toContain("procMount: Unmasked");
    const specs = found.refused.map(({ podSpec }) => podSpec);
    expect(specs).toContain("securityContext: {capabilities: {add: [SETFCAP]}}");
    expect(found.refused.map(({ because }) => because).join()).toContain("without CAP_SETFCAP");
  });

  test("ends with 69 when the driver that is asked for does not work", async () => {
    const outcome = await doctor(
      ["--driver=single-id-plain"],
      [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"',
        "sh",
      ],
    );
    expectCode(outcome, 69);
    expect(outcome.stdout).toContain("user.max_user_namespaces is 0");
    expect(outcome.stdout).toMatch(/^driver +none/m);
  });

  test("refuses flags of builds instead of reading them for nothing", async () => {
    const outcome = await doctor(["--target=x"]);
    expectCode(outcome, 64);
    expect(outcome.stderr).toContain("--target means nothing to tsbuild doctor");
  });
});
