import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.js";
import type { DiffId } from "../../src/oci/digest.js";
import { keyOf } from "../../src/solver/cache/key.js";
import {
  advance,
  createdAt,
  createdNs,
  initialState,
  withEnv,
  withVariable,
} from "../../src/solver/state.js";
import { optionsOf, PLATFORM, stateOf } from "./support-tools.js";

describe("a stage's state", () => {
  test("begins with a PATH where the base has none, behind what it has", () => {
    expect(stateOf({ env: ["a=1"] }).image.config.env).toEqual([
      "a=1",
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]);
    expect(stateOf({ env: ["PATH="] }).image.config.env).toEqual(["PATH="]);
  });

  test("of a stage that starts from another has its arguments, not its CMD, nor its triggers", () => {
    const parent = {
      ...stateOf({ env: ["PATH=/", "a=env"], onBuild: ["RUN x"], cmd: ["c"] }),
      env: new Map([
        ["a", "arg"],
        ["b", "arg"],
      ]),
      args: [{ name: "b", value: "arg" }],
      cmdSet: true,
      workdirSet: true,
    };
    const child = initialState(parent.image, PLATFORM, parent);
    expect(Object.fromEntries(child.env)).toEqual({ PATH: "/", a: "env", b: "arg" });
    expect(child.args).toEqual(parent.args);
    expect(child).toMatchObject({ cmdSet: false, workdirSet: true });
    expect(child.image.config).toMatchObject({ onBuild: [], cmd: ["c"] });
  });

  test("has its variables in the order in which they were last set", () => {
    const parent = stateOf({ env: ["PATH=/", "a=1", "b=2"] });
    const set = withVariable(withVariable(parent.env, "arg", "x"), "a", "3");
    expect([...set.keys()]).toEqual(["PATH", "b", "arg", "a"]);
    const child = initialState(parent.image, PLATFORM, { ...parent, env: set });
    expect([...child.env.keys()]).toEqual(["arg", "PATH", "a", "b"]);
  });

  test("goes on with a layer and its line of history, empty without one, none for ONBUILD", () => {
    const state = stateOf();
    const diffId = digestOf("tar") as unknown as DiffId;
    const descriptor = { mediaType: "m", digest: digestOf("blob"), size: 1 };
    const layer = { descriptor, diffId };
    const chain = { key: keyOf([{ name: "a", value: "b" }]), runs: keyOf([]) };
    const made = { layer, created: "2020-01-01T00:00:00Z", chain };
    const one = advance({ state, history: "RUN x" }, made);
    const two = advance({ state: one, history: "ENV a=b" }, undefined);
    const three = advance({ state: two }, undefined);
    expect(three.chain).toEqual(chain);
    expect(three.image.layers).toEqual([{ descriptor, diffId }]);
    expect(three.image.history).toEqual([
      {
        created: "2020-01-01T00:00:00Z",
        createdBy: "RUN x",
        comment: "buildkit.dockerfile.v0",
        emptyLayer: false,
      },
      {
        createdBy: "ENV a=b",
        comment: "buildkit.dockerfile.v0",
        emptyLayer: true,
      },
    ]);
    expect(state.image.history).toEqual([]);
  });

  test("times are those of the epoch that is given, in Go's spelling", () => {
    expect(createdAt(optionsOf({ sourceDateEpoch: 0 }))).toBe("1970-01-01T00:00:00Z");
    expect(createdAt(optionsOf())).toBeUndefined();
    expect(createdNs(optionsOf({ sourceDateEpoch: 5 }))).toBe(5_000_000_000n);
    expect(createdNs(optionsOf())).toBeGreaterThan(1_600_000_000_000_000_000n);
  });

  test("withEnv replaces the name, not what begins like it", () => {
    expect(withEnv(["ab=1", "a=2"], "a", "3")).toEqual(["ab=1", "a=3"]);
    expect(withEnv(["ab=1"], "a", "")).toEqual(["ab=1", "a="]);
  });
});
