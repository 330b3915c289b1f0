import { describe, expect, test } from "vitest";
import type { ImageConfig } from "../../src/oci/types.js";
import { after, stateOf } from "./support-tools.js";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

describe("instructions that change the configuration alone", () => {
  test("ENV keeps a name's place, and takes values from before the instruction", async () => {
    const { state, history } = await after(["ENV a=1 b=2", "ENV a=$b b=$a", "ENV c $a  $b"]);
    expect(state.image.config.env).toEqual([PATH, "a=2", "b=1", "c=2  1"]);
    expect(Object.fromEntries(state.env)).toMatchObject({ a: "2", b: "1", c: "2  1" });
    expect(history).toEqual(["ENV a=1 b=2", "ENV a=2 b=1", "ENV c=2  1"]);
  });

  test("a base's variables are there from the beginning, also those with = in them", async () => {
    const state = stateOf({ env: ["a=b=c", "novalue", "PATH=/mine"] });
    const result = await after(["LABEL a=$a n=${novalue-unset}x"], { state });
    expect(result.state.image.config.labels).toEqual({ a: "b=c", n: "x" });
    expect(result.state.image.config.env).toEqual(["a=b=c", "novalue", "PATH=/mine"]);
  });

  test("ENTRYPOINT after CMD of the same stage keeps it, after a base's CMD drops it", async () => {
    const base = stateOf({ cmd: ["base"] });
    const dropped = await after(['ENTRYPOINT ["e"]'], { state: base });
    expect(dropped.state.image.config.cmd).toBeUndefined();
    const kept = await after(["CMD own", 'ENTRYPOINT ["e"]'], { state: base });
    expect(kept.state.image.config.cmd).toEqual(["/bin/sh", "-c", "own"]);
    expect(kept.state.image.config.argsEscaped).toBe(true);
  });

  test("Windows has its own shell and no PATH of ours", async () => {
    const windows = { os: "windows", architecture: "amd64" };
    const { state } = await after(["CMD dir"], { state: stateOf({ platform: windows }, windows) });
    expect(state.image.config.cmd).toEqual(["cmd", "/S", "/C", "dir"]);
    expect(state.image.config.env).toEqual([]);
  });

  test("ports and volumes add up, each once", async () => {
    const { state, history } = await after(
      ["EXPOSE 80 80/tcp", "ENV more='81/udp 82'", "EXPOSE $more 80", "VOLUME /a /b", "VOLUME /a"],
      { state: stateOf({ exposedPorts: ["22/tcp"], volumes: ["/base"] }) },
    );
    expect(state.image.config.exposedPorts).toEqual(["22/tcp", "80/tcp", "81/udp", "82/tcp"]);
    expect(state.image.config.volumes).toEqual(["/base", "/a", "/b"]);
    expect(history.at(-3)).toBe("EXPOSE [81/udp 82/tcp 80/tcp]");
  });

  test("a volume that expands to nothing is refused", async () => {
    await expect(after(["VOLUME /a $nothing"])).rejects.toThrow("can not be an empty string");
  });

  test("what is not printable is shown in history as Go quotes it", async () => {
    const { history } = await after(['CMD ["a\\u200b", "\\u0080\\udb40\\udc01é "]']);
    expect(history).toEqual(['CMD ["a\\u200b" "\\u0080\\U000e0001é "]']);
  });

  test("a shell form is warned of unless the base has set SHELL", async () => {
    const rules = async (config: Partial<ImageConfig>): Promise<readonly string[]> =>
      (await after(["CMD a", "ENTRYPOINT b"], { state: stateOf(config) })).warned.map(
        ({ code }) => code,
      );
    expect(await rules({})).toEqual(["JSONArgsRecommended", "JSONArgsRecommended"]);
    expect(await rules({ shell: ["/bin/bash", "-c"] })).toEqual([]);
  });

  test("HEALTHCHECK writes durations as Go does", async () => {
    const { history } = await after(["HEALTHCHECK --interval=90s --retries=2 CMD true"]);
    expect(history).toEqual([
      "HEALTHCHECK {Test:[CMD-SHELL true] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
    ]);
  });

  test("ONBUILD adds to what is there and has no history", async () => {
    const { state, history } = await after(["ONBUILD RUN a", "ONBUILD LABEL b=$c"]);
    expect(state.image.config.onBuild).toEqual(["RUN a", "LABEL b=$c"]);
    expect(history).toEqual([]);
  });

  test("a variable that nothing sets is warned of, one that is only declared is not", async () => {
    const { warned } = await after(["ARG declared", "ENV a=$declared", "USER $nobody"]);
    expect(warned.map(({ code, message }) => `${code} ${message}`)).toEqual([
      expect.stringMatching(/^UndefinedVar .*\$nobody/),
    ]);
  });
});
