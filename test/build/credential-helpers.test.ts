import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { registrySettings } from "../../src/build/registry.js";
import type { BuildOptions } from "../../src/index.js";
import { tempDir } from "../support/tools.js";

const { signal } = new AbortController();

interface Found {
  readonly source: string | undefined;
  readonly notices: readonly string[];
}

/** What is found for a registry, asked for two of its repositories. */
async function ask(registry: string, options: Omit<BuildOptions, "context">): Promise<Found> {
  const notices: string[] = [];
  const { keychain } = registrySettings({ context: ".", ...options }, (event) => {
    if (event.type === "notice") notices.push(event.message);
  });
  await keychain({ registry, repository: "app" }, signal);
  const credential = await keychain({ registry, repository: "other" }, signal);
  return { source: credential?.source, notices };
}

describe("where logins are looked for", () => {
  const environment = {
    KANIKO_REGISTRY_EXAMPLE_USER: "u",
    KANIKO_REGISTRY_EXAMPLE_PASSWORD: "p",
    CI_REGISTRY: "registry.example",
    CI_REGISTRY_USER: "ci",
    CI_REGISTRY_PASSWORD: "p",
    PATH: "/nowhere",
  };
  const sourceOf = async (credentialHelpers?: BuildOptions["credentialHelpers"]) =>
    (
      await ask("registry.example", {
        environment,
        ...(credentialHelpers === undefined ? {} : { credentialHelpers }),
      })
    ).source;

  test("is everywhere, in a fixed order, in what is named, or nowhere", async () => {
    expect(await sourceOf()).toMatch(/^KANIKO_REGISTRY_EXAMPLE_USER/);
    expect(await sourceOf(["gitlab"])).toBe("CI_REGISTRY_USER and CI_REGISTRY_PASSWORD");
    expect(await sourceOf(["env"])).toMatch(/^KANIKO_REGISTRY_EXAMPLE_USER/);
    expect(await sourceOf([])).toBeUndefined();
  });

  test("config.json comes before them, and is asked without any", async () => {
    const auths = { "registry.example": { auth: Buffer.from("a:b").toString("base64") } };
    const DOCKER_AUTH_CONFIG = JSON.stringify({ auths });
    const found = await ask("registry.example", {
      environment: { ...environment, DOCKER_AUTH_CONFIG },
      credentialHelpers: [],
    });
    expect(found.source).toContain("DOCKER_AUTH_CONFIG");
  });

  test("a job of GitLab has its token alone, for its own registry", async () => {
    const environment = { CI_REGISTRY: "registry.example:5050", CI_JOB_TOKEN: "t" };
    const gitlab = { environment, credentialHelpers: ["gitlab"] } as const;
    expect((await ask("registry.example:5050", gitlab)).source).toBe("CI_JOB_TOKEN");
    expect((await ask("registry.example", gitlab)).source).toBeUndefined();
  });

  test("a name that is none is refused", async () => {
    const credentialHelpers = ["aws" as "ecr"];
    await expect(ask("a.example", { credentialHelpers })).rejects.toMatchObject({
      code: "USAGE",
      message: 'there is no credential helper "aws"',
    });
  });
});

describe("a cloud's helper", () => {
  const ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

  test("that is named and not installed is said once, for a registry of its cloud", async () => {
    const environment = { PATH: "/nowhere" };
    const named = { environment, credentialHelpers: ["ecr", "google"] } as const;
    const { notices } = await ask(ECR, named);
    expect(notices).toEqual([
      expect.stringMatching(
        /^docker-credential-ecr-login is to be asked for a login to 1.*is not installed/,
      ),
    ]);
    expect((await ask("gcr.io", named)).notices[0]).toContain("docker-credential-gcr ");
    expect((await ask("ghcr.io", named)).notices).toEqual([]);
    expect((await ask(ECR, { environment })).notices).toEqual([]);
  });

  test("that is installed is asked", async () => {
    await using dir = await tempDir();
    const program = join(dir.path, "docker-credential-acr-env");
    await writeFile(program, '#!/bin/sh\necho \'{"Username":"a","Secret":"s"}\'\n');
    await chmod(program, 0o755);
    const environment = { PATH: `${dir.path}:/usr/bin:/bin` };
    const found = await ask("team.azurecr.io", { environment, credentialHelpers: ["acr"] });
    expect(found).toEqual({ source: "docker-credential-acr-env", notices: [] });
  });
});
