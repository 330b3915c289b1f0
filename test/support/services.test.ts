import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { busyboxBase, nastyBase, pushBase } from "./bases.js";
import { startRegistry } from "./services.js";
import { lacksTools, mustRun, run, tempDir } from "./tools.js";
import { describeUnless } from "./tools-suite.js";
import { readTar, writeTar } from "./tools-tar.js";
import { HIGH_ID, LONG_PATH, nastyLayers } from "./bases-nasty.js";
import { lacksUsers, runAs, userWithoutSubIds, userWithSubIds } from "./users.js";

const missing = lacksTools("docker-registry", "skopeo", "openssl", "htpasswd", "busybox");

describeUnless([missing], "the registries of the tests", () => {
  test("a plain registry keeps a base in both manifest forms", async () => {
    await using registry = await startRegistry();
    const layout = await busyboxBase();
    for (const form of ["oci", "v2s2"] as const) {
      const reference = await pushBase(layout, registry, `library/busybox:${form}`, form);
      const raw = await mustRun("skopeo", [
        "inspect",
        "--raw",
        "--tls-verify=false",
        `docker://${reference}`,
      ]);
      expect(JSON.parse(raw)).toMatchObject({
        mediaType: expect.stringContaining(form === "oci" ? "vnd.oci" : "vnd.docker"),
      });
    }
    expect(await registry.requests()).toContainEqual(
      expect.stringMatching(/^PUT \/v2\/library\/busybox\/manifests\/oci 201$/),
    );
  });

  test("a registry with TLS answers only to those who trust its CA", async () => {
    await using registry = await startRegistry({ tls: true, names: ["registry.test"] });
    const good = await run("curl", [
      "-fsS",
      "--cacert",
      String(registry.caFile),
      `${registry.url}/v2/`,
    ]);
    expect(good).toMatchObject({ code: 0, stdout: "{}" });
    expect((await run("curl", ["-fsS", "--capath", "/nowhere", `${registry.url}/v2/`])).code).toBe(
      60,
    );
  });

  test("a registry with a password refuses everyone else", async () => {
    const account = { username: "ann", password: "s3cret: ü" };
    await using registry = await startRegistry({ htpasswd: account });
    const wrong = await fetch(`${registry.url}/v2/`, { headers: basic("ann", "nope") });
    expect(wrong.status).toBe(401);
    const right = await fetch(`${registry.url}/v2/`, { headers: basic("ann", account.password) });
    expect(right.status).toBe(200);
    const dir = await registry.dockerConfig(account);
    expect(await readFile(join(dir, "config.json"), "utf8")).toContain(registry.host);
  });

  test("a registry with tokens takes what its token server signs, for what it grants", async () => {
    const account = { username: "tom", password: "token" };
    await using registry = await startRegistry({
      token: { accounts: [account], anonymousPull: true },
    });
    const layout = await busyboxBase();
    const target = `docker://${registry.host}/team/app:1`;
    const push = ["copy", "-q", "--dest-tls-verify=false", `oci:${layout}:latest`, target];
    expect((await run("skopeo", push)).code).not.toBe(0);
    await mustRun("skopeo", [...push, "--dest-creds", "tom:token"]);
    await mustRun("skopeo", ["inspect", "--tls-verify=false", target]);
  });
});

describeUnless([lacksTools("busybox", "umoci")], "the bases of the tests", () => {
  test("the nasty base says in its archive what it promises", async () => {
    const [, upper = []] = nastyLayers(Buffer.from("busybox"));
    const entries = new Map(readTar(writeTar(upper)).map((entry) => [entry.name, entry]));
    expect(entries.get("owned")).toMatchObject({ uid: HIGH_ID, gid: HIGH_ID + 1 });
    expect(entries.get("capable")?.xattrs.get("security.capability")).toHaveLength(20);
    expect(entries.get("devices/high")).toMatchObject({ type: "char", major: 300, minor: 70_000 });
    expect(entries.get("fraction")?.mtime).toBeCloseTo(1_700_000_000.123456, 5);
  });

  test("GNU tar reads the nasty base's lower layer as we wrote it", async () => {
    const [lower = []] = nastyLayers(Buffer.from("busybox"));
    const listed = await mustRun("tar", ["-tf", "-"], { input: writeTar(lower) });
    expect(
      listed
        .trim()
        .split("\n")
        .map((name) => name.replace(/\/$/, "")),
    ).toEqual(lower.map((entry) => entry.name));
    expect(listed).toContain(`${LONG_PATH}/leaf`);
  });

  test("umoci unpacks the nasty base", async () => {
    await using dir = await tempDir();
    const layout = await nastyBase();
    const bundle = join(dir.path, "bundle");
    await mustRun("umoci", ["unpack", "--image", `${layout}:latest`, bundle]);
    const stat = await mustRun("stat", [
      "-c",
      "%u %a %t,%T",
      join(bundle, "rootfs/owned"),
      join(bundle, "rootfs/devices/high"),
    ]);
    expect(stat).toBe(`${HIGH_ID} 644 0,0\n0 600 12c,11170\n`);
  });
});

describeUnless([lacksUsers()], "the users of the tests", () => {
  test("are two, of which one has subordinate ids", async () => {
    const [withIds, without] = [await userWithSubIds(), await userWithoutSubIds()];
    const subuid = await readFile("/etc/subuid", "utf8");
    expect(subuid).toMatch(new RegExp(`^${withIds.name}:\\d+:65536$`, "m"));
    expect(subuid).not.toMatch(new RegExp(`^${without.name}:`, "m"));
  });

  test("run programs without any privilege", async () => {
    const user = await userWithSubIds();
    const outcome = await runAs(user, ["sh", "-c", "id -u; pwd; grep CapEff /proc/self/status"]);
    expect(outcome.stdout).toBe(`${user.uid}\n${user.home}\nCapEff:\t0000000000000000\n`);
  });
});

function basic(username: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}` };
}
