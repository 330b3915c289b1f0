import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createKeychain } from "../../src/registry/index.js";
import { candidateKeys, normalizeKey } from "../../src/registry/docker-config.js";
import type { Credential } from "../../src/registry/types.js";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tsbuild-keychain-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const signal = new AbortController().signal;
const auth = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString("base64") });

async function put(file: string, content: unknown): Promise<string> {
  const path = join(root, file);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

async function helper(name: string, script: string): Promise<string> {
  const path = await put(`bin/docker-credential-${name}`, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return `${join(root, "bin")}:/usr/bin:/bin`;
}

const inline = (
  config: unknown,
  registry: string,
  repository = "org/app",
): Promise<Credential | undefined> =>
  createKeychain({ environment: { DOCKER_AUTH_CONFIG: JSON.stringify(config) } })(
    { registry, repository },
    signal,
  );

describe("keys", () => {
  test.each([
    ["https://index.docker.io/v1/", "index.docker.io"],
    ["https://index.docker.io/v1", "index.docker.io"],
    ["index.docker.io/v1/", "index.docker.io"],
    ["docker.io", "index.docker.io"],
    ["registry-1.docker.io", "index.docker.io"],
    ["https://registry-1.docker.io/v2/", "index.docker.io"],
    ["ghcr.io", "ghcr.io"],
    ["https://ghcr.io", "ghcr.io"],
    ["https://ghcr.io/", "ghcr.io"],
    ["https://ghcr.io/v1/", "ghcr.io"],
    ["ghcr.io/v2/", "ghcr.io"],
    ["GHCR.io", "ghcr.io"],
    ["ghcr.io:443", "ghcr.io"],
    ["registry.local:5000", "registry.local:5000"],
    ["http://registry.local:5000/v2/", "registry.local:5000"],
    ["http://registry.local:80", "registry.local"],
    ["registry.local:5000/org", "registry.local:5000"],
    ["ghcr.io/org/app", "ghcr.io"],
  ])("%s is a credential for %s", async (key, registry) => {
    const found = await inline({ auths: { [key]: auth("u:p") } }, registry);
    expect(found).toEqual({
      secret: { kind: "basic", username: "u", password: "p" },
      source: `auths[${JSON.stringify(key)}] in DOCKER_AUTH_CONFIG`,
    });
  });

  test.each([
    ["ghcr.io/other", "ghcr.io"],
    ["ghcr.io/org/ap", "ghcr.io"],
    ["ghcr.io/org/app/deeper", "ghcr.io"],
    ["ghcr.io", "xghcr.io"],
    ["registry.local", "registry.local:5000"],
    ["registry.local:5000", "registry.local"],
  ])("%s is none for org/app of %s", async (key, registry) => {
    expect(await inline({ auths: { [key]: auth("u:p") } }, registry)).toBeUndefined();
  });

  test("the most specific path wins, whatever the order", async () => {
    const auths = {
      "ghcr.io": auth("host:p"),
      "ghcr.io/org": auth("org:p"),
      "ghcr.io/org/app": auth("app:p"),
    };
    const user = async (repository: string): Promise<string | undefined> => {
      const found = await inline({ auths }, "ghcr.io", repository);
      return found?.secret.kind === "basic" ? found.secret.username : undefined;
    };
    expect(await user("org/app")).toBe("app");
    expect(await user("org/app/deeper")).toBe("app");
    expect(await user("org/else")).toBe("org");
    expect(await user("organic/app")).toBe("host");
  });

  test("a repository's names go from the whole path to the host", () => {
    expect(candidateKeys({ registry: "docker.io", repository: "library/debian" })).toEqual([
      "index.docker.io/library/debian",
      "index.docker.io/library",
      "index.docker.io",
    ]);
    expect(normalizeKey("https://host/a/b/")).toBe("host/a/b");
  });
});

describe("entries", () => {
  test.each([
    [
      { username: "u", password: "p:q" },
      { kind: "basic", username: "u", password: "p:q" },
    ],
    [auth("u:p:q"), { kind: "basic", username: "u", password: "p:q" }],
    [
      { ...auth("u:p"), identitytoken: "t" },
      { kind: "refresh", token: "t" },
    ],
    [
      { ...auth("u:p"), registrytoken: "t" },
      { kind: "bearer", token: "t" },
    ],
    [auth("<token>:t"), { kind: "refresh", token: "t" }],
  ])("%j", async (entry, secret) => {
    expect((await inline({ auths: { "ghcr.io": entry } }, "ghcr.io"))?.secret).toEqual(secret);
  });

  test("an empty entry is none", async () => {
    expect(await inline({ auths: { "ghcr.io": {} } }, "ghcr.io")).toBeUndefined();
  });

  test.each([
    ['{"auths": {"ghcr.io": {"auth": "c2VjcmV0LXRoaW5n"', /DOCKER_AUTH_CONFIG: it is not JSON$/],
    ['{"auths": {"ghcr.io": {"auth": "c2VjcmV0LXRoaW5n"}}}', /"auth" of "ghcr.io" is not base64/],
    ["[1]", /it is not an object$/],
  ])("a mistake is named without repeating the text: %s", async (text, message) => {
    const keychain = createKeychain({ environment: { DOCKER_AUTH_CONFIG: text } });
    const error: unknown = await keychain({ registry: "ghcr.io", repository: "a" }, signal).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "USAGE", message: expect.stringMatching(message) });
    expect(JSON.stringify(error) + String(error)).not.toMatch(/c2VjcmV0|secret-thing/);
    expect(error).not.toHaveProperty("cause");
  });
});

describe("places", () => {
  const config = (user: string): object => ({ auths: { "ghcr.io": auth(`${user}:p`) } });
  const find = async (environment: Record<string, string>): Promise<string | undefined> => {
    const keychain = createKeychain({ environment });
    return (await keychain({ registry: "ghcr.io", repository: "org/app" }, signal))?.source;
  };

  test("each variable leads to its file, and DOCKER_AUTH_CONFIG comes before all", async () => {
    await put("docker/config.json", config("docker"));
    await put("home/.docker/config.json", config("home"));
    await put("home/.config/containers/auth.json", config("podman"));
    await put("auth.json", config("file"));
    await put("run/containers/auth.json", config("run"));
    const inRoot = (path: string): string => join(root, path);
    const source = (path: string): string => `auths["ghcr.io"] in ${inRoot(path)}`;
    expect(await find({ DOCKER_CONFIG: inRoot("docker"), HOME: inRoot("home") })).toBe(
      source("docker/config.json"),
    );
    expect(await find({ DOCKER_CONFIG: inRoot("docker/config.json") })).toBe(
      source("docker/config.json"),
    );
    expect(await find({ HOME: inRoot("home") })).toBe(source("home/.docker/config.json"));
    expect(await find({ DOCKER_CONFIG: inRoot("none"), HOME: inRoot("home") })).toBe(
      source("home/.config/containers/auth.json"),
    );
    expect(await find({ REGISTRY_AUTH_FILE: inRoot("auth.json") })).toBe(source("auth.json"));
    expect(await find({ XDG_RUNTIME_DIR: inRoot("run") })).toBe(source("run/containers/auth.json"));
    const all = { HOME: inRoot("home"), DOCKER_AUTH_CONFIG: JSON.stringify(config("inline")) };
    expect(await find(all)).toBe('auths["ghcr.io"] in DOCKER_AUTH_CONFIG');
  });

  test("kaniko's and GitLab's variables are read, and name themselves", async () => {
    const kaniko = { KANIKO_GHCR_IO_USER: "u", KANIKO_GHCR_IO_PASSWORD: "p" };
    expect(await find(kaniko)).toBe("KANIKO_GHCR_IO_USER and KANIKO_GHCR_IO_PASSWORD");
    const gitlab = { CI_REGISTRY_USER: "u", CI_REGISTRY_PASSWORD: "p" };
    expect(await find({ ...gitlab, CI_REGISTRY: "ghcr.io" })).toMatch(/^CI_REGISTRY_USER/);
    expect(await find({ ...gitlab, CI_REGISTRY: "other.io" })).toBeUndefined();
  });

  test("a search without result tells where it looked", async () => {
    const file = await put("other/config.json", { auths: { "quay.io": auth("u:p") } });
    const environment = { DOCKER_CONFIG: dirname(file), HOME: join(root, "nobody") };
    const keychain = createKeychain({ environment });
    const name = { registry: "ghcr.io", repository: "org/app" };
    expect(await keychain(name, signal)).toBeUndefined();
    expect(keychain.lookedIn?.(name)).toEqual([
      `${join(root, "nobody/.config/containers/auth.json")} (not there)`,
      `${file} (no entry for it)`,
    ]);
  });

  test.skipIf(process.geteuid?.() !== 0)(
    "a home that this user may not enter holds no login, unlike a directory that DOCKER_CONFIG names",
    async () => {
      const name = { registry: "ghcr.io", repository: "org/app" };
      const home = createKeychain({ environment: { HOME: root } });
      const named = createKeychain({ environment: { HOME: root, DOCKER_CONFIG: root } });
      process.seteuid?.(65_534); // `root` is its owner's alone
      try {
        expect(await home(name, signal)).toBeUndefined();
        await expect(named(name, signal)).rejects.toThrow(`${root}/config.json: it cannot be read`);
      } finally {
        process.seteuid?.(0);
      }
      expect(home.lookedIn?.(name)).toEqual([
        `${join(root, ".docker/config.json")} (not readable)`,
        `${join(root, ".config/containers/auth.json")} (not readable)`,
      ]);
    },
  );
});

describe("helpers", () => {
  const ask = async (
    config: object,
    environment: Record<string, string>,
    registry = "ghcr.io",
    caller = signal,
    helperTimeoutMs = 120_000,
  ): Promise<readonly [Credential | undefined, readonly string[]]> => {
    const keychain = createKeychain({
      environment: { DOCKER_AUTH_CONFIG: JSON.stringify(config), ...environment },
      helperTimeoutMs,
    });
    const name = { registry, repository: "org/app" };
    return [await keychain(name, caller), keychain.lookedIn?.(name) ?? []];
  };

  test("credHelpers and credsStore are asked for the server, with the environment", async () => {
    const PATH = await helper(
      "echo",
      'read -r server; printf \'{"Username":"%s","Secret":"%s"}\' "$server" "$TOKEN_FOR_TEST"',
    );
    const environment = { PATH, TOKEN_FOR_TEST: "s3cret" };
    const [named] = await ask({ credHelpers: { "https://ghcr.io": "echo" } }, environment);
    expect(named).toEqual({
      secret: { kind: "basic", username: "ghcr.io", password: "s3cret" },
      source: 'docker-credential-echo (credHelpers["https://ghcr.io"] in DOCKER_AUTH_CONFIG)',
    });
    const [stored] = await ask({ credsStore: "echo" }, environment, "index.docker.io");
    expect(stored?.secret).toMatchObject({ username: "https://index.docker.io/v1/" });
  });

  test("the user <token> is a refresh token", async () => {
    const PATH = await helper("token", 'echo \'{"Username":"<token>","Secret":"abc"}\'');
    const [found] = await ask({ credsStore: "token" }, { PATH });
    expect(found?.secret).toEqual({ kind: "refresh", token: "abc" });
  });

  test("a helper that knows nothing, fails, hangs, babbles or is missing leaves the next place to be asked", async () => {
    await helper("empty", "echo 'credentials not found in native keychain'; exit 1");
    await helper("broken", "echo 'cannot open https://u:hunter2@vault/'; exit 3");
    await helper("hangs", "exec sleep 60");
    const PATH = await helper("babble", "echo not json");
    const reason = async (name: string): Promise<string> => {
      const auths = { "ghcr.io": auth("u:p") };
      const patience = name === "hangs" ? 500 : undefined;
      const rest = [{ PATH }, undefined, undefined, patience] as const;
      const [fallback] = await ask({ credsStore: name, auths }, ...rest);
      expect(fallback?.source).toContain('auths["ghcr.io"]');
      const [found, notes] = await ask({ credsStore: name }, ...rest);
      expect(found).toBeUndefined();
      return notes[0] ?? "";
    };
    expect(await reason("empty")).toMatch(/^docker-credential-empty .*\(knows none\)$/);
    expect(await reason("broken")).toMatch(/failed: cannot open https:\/\/vault\/$/);
    expect(await reason("hangs")).toMatch(/did not answer in 0.5 s$/);
    expect(await reason("babble")).toMatch(/an answer of an unknown form$/);
    expect(await reason("missing")).toMatch(/docker-credential-missing is not installed$/);
    expect(await reason("../evil")).toMatch(/its name is not a program's$/);
  });

  test("an abort ends a hanging helper", async () => {
    const PATH = await helper("hangs", "exec sleep 60");
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 50);
    await expect(
      ask({ credsStore: "hangs" }, { PATH }, "ghcr.io", controller.signal),
    ).rejects.toThrow("enough");
  });

  test("a cloud's helper is asked where it is installed, for its hosts only", async () => {
    const PATH = await helper("ecr-login", 'echo \'{"Username":"AWS","Secret":"x"}\'');
    const [found] = await ask({}, { PATH }, "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
    expect(found?.source).toBe("docker-credential-ecr-login");
    expect((await ask({}, { PATH }, "ghcr.io"))[0]).toBeUndefined();
    const [none, notes] = await ask({}, { PATH }, "eu.gcr.io");
    expect(none).toBeUndefined();
    expect(notes.at(-1)).toMatch(/docker-credential-gcr is not installed/);
  });
});
