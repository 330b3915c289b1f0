import { describe, expect, test } from "vitest";
import { after } from "./support-tools.js";

describe("ARG", () => {
  test("takes the build argument, else its default, else the global value, else nothing", async () => {
    const { state, history } = await after(["ARG given=d plain=d global nothing"], {
      head: "ARG global=g\nFROM scratch",
      options: { buildArgs: new Map([["given", "mine"]]) },
    });
    expect(state.args).toEqual([
      { name: "given", value: "mine" },
      { name: "plain", value: "d" },
      { name: "global", value: "g" },
      { name: "nothing", value: undefined },
    ]);
    expect(state.env.has("nothing")).toBe(false);
    expect(history).toEqual(["ARG given=mine plain=d global=g nothing"]);
  });

  test("of what steers BuildKit's attestations is in the history, and no variable", async () => {
    const { state, history } = await after(["ARG BUILDKIT_SBOM_SCAN_STAGE=true x=1"]);
    expect([...state.env.keys()]).toEqual(["PATH", "x"]);
    expect(history).toEqual(["ARG BUILDKIT_SBOM_SCAN_STAGE=true x=1"]);
  });

  test("does not look at a default that is not needed", async () => {
    const { state } = await after(["ARG a=${none:?fails}"], {
      options: { buildArgs: new Map([["a", ""]]) },
    });
    expect(state.env.get("a")).toBe("");
    await expect(after(["ARG a=${none:?fails}"])).rejects.toThrow("none: fails");
  });

  test("wins over an earlier ENV for steps, and a later ENV wins over it; the image has the ENV", async () => {
    const { state } = await after(["ENV a=env", "ARG a=arg", "ARG b=arg", "ENV b=env"]);
    expect(state.env.get("a")).toBe("arg");
    expect(state.env.get("b")).toBe("env");
    expect(state.image.config.env.slice(1)).toEqual(["a=env", "b=env"]);
  });

  test("a name is taken as it is written, and is not warned of", async () => {
    const { history, warned } = await after(['ARG "a b"=1 $x']);
    expect(history).toEqual(['ARG "a b"=1 $x']);
    expect(warned).toEqual([]);
  });

  test("those that steer the build stay out of the environment", async () => {
    const { warned } = await after(["LABEL a=$BUILDKIT_SBOM_SCAN_STAGE$other"]);
    expect(warned.map(({ message }) => message)).toEqual(["Usage of undefined variable '$other'"]);
    const { state } = await after(["ARG BUILDKIT_SBOM_SCAN_STAGE=true"]);
    expect(state.env.has("BUILDKIT_SBOM_SCAN_STAGE")).toBe(false);
  });
});
