import { describe, expect, test } from "vitest";
import type { Run } from "../../src/dockerfile/types.js";
import { DockerfileError } from "../../src/dockerfile/index.js";
import { scratchImage } from "../../src/oci/image.js";
import {
  expandMounts,
  openMounts,
  parentsFirst,
  type StepMounts,
} from "../../src/solver/run-mounts.js";
import type { SolveOptions, StageState, Tools } from "../../src/solver/types.js";
import { fakeTools, instructionsOf, PLATFORM, stateOf } from "./support-tools.js";

interface Given {
  readonly options?: Partial<SolveOptions>;
  readonly tools?: Partial<Tools>;
  readonly state?: StageState;
}

async function opened(flags: string, given: Given = {}): Promise<StepMounts> {
  const [run] = instructionsOf([`RUN ${flags} true`]);
  const state = given.state ?? stateOf();
  const { tools } = fakeTools(run as Run, given.options, {
    secret: async () => new TextEncoder().encode("s3cret"),
    blobs: async () => [],
    contextImage: async () => scratchImage(PLATFORM),
    ...given.tools,
  });
  return openMounts(expandMounts(run as Run, state, tools), state, tools);
}

async function key(options: string, given?: Given): Promise<string> {
  const { mounts } = await opened(`--mount=type=cache,${options}`, given);
  const [mount] = mounts;
  if (mount?.kind !== "cache") throw new Error("no cache");
  return mount.key;
}

describe("mounts of a step", () => {
  test("a cache is its id, owner, mode, namespace and beginning; the target is the id by default", async () => {
    const plain = await key("target=/c");
    expect(plain).toMatch(/^[0-9a-f]{64}$/);
    for (const same of [
      "target=/c/",
      "target=/x,id=/c",
      "target=/c,ro",
      "target=/c,sharing=locked",
    ]) {
      expect(await key(same), same).toBe(plain);
    }
    const others = [
      await key("target=c", { state: stateOf({ workingDir: "/" }) }),
      await key("target=/d"),
      await key("target=/c,uid=1"),
      await key("target=/c,gid=1"),
      await key("target=/c,mode=0700"),
      await key("target=/c", {
        options: { buildArgs: new Map([["BUILDKIT_CACHE_MOUNT_NS", "n"]]) },
      }),
      await key("target=/c,from=i", {
        tools: { source: () => ({ name: "i", image: async () => scratchImage(PLATFORM) }) },
      }),
    ];
    expect(new Set([plain, ...others]).size).toBe(others.length + 1);
  });

  test("steps with other working directories share a cache whose target is relative", async () => {
    const within = (workingDir: string): Promise<string> =>
      key("target=./c", { state: stateOf({ workingDir }) });
    expect(await within("/a")).toBe(await within("/b"));
    expect(await within("/a")).toBe(await key("target=/x,id=c"));
  });

  test("a mount that lies within another one is made after it, wherever it is written", async () => {
    const { mounts } = await opened(
      "--mount=type=tmpfs,target=/a/b --mount=type=secret,id=s,target=/a/b/c --mount=target=/a",
    );
    expect(parentsFirst(mounts).map(({ target }) => target)).toEqual(["/a", "/a/b", "/a/b/c"]);
  });

  test("names without a value are warned of, each once for a mount", () => {
    const [run] = instructionsOf(["RUN --mount=type=cache,target=/t$a,id=$a$b${c:-x} true"]);
    const { tools, warned } = fakeTools(run as Run);
    expandMounts(run as Run, stateOf(), tools);
    expect(warned.map(({ message }) => message)).toEqual(
      ["a", "b", "c"].map((name) => `Usage of undefined variable '$${name}'`),
    );
  });

  test("a namespace cannot be made to look like part of an id", async () => {
    const within = (namespace: string, id: string): Promise<string> =>
      key(`target=/c,id=${id}`, {
        options: { buildArgs: new Map([["BUILDKIT_CACHE_MOUNT_NS", namespace]]) },
      });
    expect(await within("a", "b/c")).not.toBe(await within("a/b", "c"));
  });

  test("targets are relative to the working directory, and never the root", async () => {
    const state = stateOf({ workingDir: "/w" });
    const { mounts } = await opened("--mount=type=tmpfs,target=t/../u,size=2k", { state });
    expect(mounts).toEqual([{ kind: "tmpfs", target: "/w/u", sizeBytes: 2048 }]);
    for (const target of ["target=/", "target=/x/..", "target=..", "target=/."]) {
      const failed = opened(`--mount=type=tmpfs,${target}`, { state });
      await expect(failed, target).rejects.toThrow('invalid mount target "/"');
      await expect(failed).rejects.toThrow(DockerfileError);
    }
  });

  test("secrets are files, variables, or both", async () => {
    const file = await opened("--mount=type=secret,id=a/key");
    expect(file.mounts).toMatchObject([
      { kind: "file", target: "/run/secrets/key", mode: 0o400, uid: 0, gid: 0 },
    ]);
    const variable = await opened("--mount=type=secret,id=key,env=KEY");
    expect(variable).toEqual({ mounts: [], env: new Map([["KEY", "s3cret"]]) });
    const both = await opened("--mount=type=secret,id=key,env=KEY,target=/k,mode=0440,uid=3");
    expect(both.env.get("KEY")).toBe("s3cret");
    expect(both.mounts).toMatchObject([{ target: "/k", mode: 0o440, uid: 3 }]);
    const none = { tools: { secret: async () => undefined } };
    expect(await opened("--mount=type=secret,id=key,env=KEY", none)).toEqual({
      mounts: [],
      env: new Map(),
    });
    const state = { ...stateOf(), env: new Map([["no", ""]]) };
    const unnamed = await opened("--mount=type=secret,id=$no,target=/d/key", { state });
    expect(unnamed.mounts).toMatchObject([{ target: "/d/key" }]);
    const untargeted = await opened("--mount=type=secret,id=key,target=$no", { state });
    expect(untargeted.mounts).toMatchObject([{ target: "/run/secrets/key" }]);
    await expect(opened("--mount=type=secret,id=key,required", none)).rejects.toThrow(
      "secret key: not found",
    );
  });

  test("SSH_AUTH_SOCK is set whether there is an agent or not", async () => {
    const without = await opened("--mount=type=ssh");
    expect(without).toEqual({
      mounts: [],
      env: new Map([["SSH_AUTH_SOCK", "/run/buildkit/ssh_agent.0"]]),
    });
    const two = await opened("--mount=type=ssh --mount=type=ssh,id=b", {
      tools: { agent: async (id) => `/sockets/${id}` },
    });
    expect(two.mounts).toMatchObject([
      { path: "/sockets/default", target: "/run/buildkit/ssh_agent.0", mode: 0o600 },
      { path: "/sockets/b", target: "/run/buildkit/ssh_agent.1" },
    ]);
    expect(two.env.get("SSH_AUTH_SOCK")).toBe("/run/buildkit/ssh_agent.0");
    const own = { ...stateOf(), env: new Map([["SSH_AUTH_SOCK", "/mine"]]) };
    expect((await opened("--mount=type=ssh", { state: own })).env.size).toBe(0);
  });
});
