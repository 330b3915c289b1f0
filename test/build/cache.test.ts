/** What makes a step anew, and what does not; by Dockerfiles that need no worker, and a few that do. */
import {
  appendFile,
  chmod,
  cp,
  mkdir,
  readdir,
  rm,
  unlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { explain, start, type BuildEvent, type BuildOptions } from "../../src/index.js";
import { busyboxBase } from "../support/bases.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, tempDir, type TempDir } from "../support/tools.js";

let dir: TempDir;
let context: string;
beforeEach(async () => {
  dir = await tempDir();
  context = join(dir.path, "context");
});
afterEach(() => dir[Symbol.asyncDispose]());

/** Files of the context by their paths. */
async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(context, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
}

function optionsOf(more: Partial<BuildOptions> = {}): BuildOptions {
  const store = join(dir.path, "store");
  return { context, push: false, ociLayoutPath: join(dir.path, "out"), store, ...more };
}

interface Told {
  readonly digest: string;
  readonly cached: readonly string[];
  readonly made: readonly string[];
  /** Why, by the step's text. */
  readonly because: Readonly<Record<string, readonly string[]>>;
  readonly events: readonly BuildEvent[];
}

async function build(more: Partial<BuildOptions> = {}): Promise<Told> {
  await using running = start(optionsOf(more));
  const texts = new Map<string, string>();
  const [cached, made]: [string[], string[]] = [[], []];
  const because: Record<string, readonly string[]> = {};
  const events: BuildEvent[] = [];
  for await (const event of running.events) {
    events.push(event);
    if (event.type === "step-start") texts.set(event.step, event.text);
    if (!("step" in event)) continue;
    const text = texts.get(event.step) ?? "";
    if (event.type === "step-cached") cached.push(text);
    if (event.type === "step-done" && event.layer !== undefined) made.push(text);
    if (event.type === "step-missed") because[text] = event.because;
  }
  const { image } = await running.result;
  return { digest: image.digest, cached, made, because, events };
}

describe("a step that copies", () => {
  const COPY = "COPY src /src";
  beforeEach(async () => {
    await write({ Dockerfile: `FROM scratch\n${COPY}\nCOPY other /o\n`, other: "o" });
    await write({ "src/a": "a", "src/b": "b", "src/deep/c": "c" });
  });

  test("is cached, and the image is the same to the bit", async () => {
    const first = await build();
    const second = await build();
    expect(first.cached).toEqual([]);
    expect(second).toMatchObject({
      digest: first.digest,
      made: [],
      cached: [COPY, "COPY other /o"],
    });
  });

  test("does not mind times, nor a copy of the context elsewhere", async () => {
    const first = await build();
    for (const name of ["src/a", "src/b", "src/deep/c", "src"]) {
      await utimes(join(context, name), new Date(), new Date(1_000_000_000_000));
    }
    expect(await build()).toMatchObject({ made: [], digest: first.digest });
    const clone = join(dir.path, "clone");
    await cp(context, clone, { recursive: true });
    expect(await build({ context: clone })).toMatchObject({ made: [], digest: first.digest });
  });

  test.each<[string, () => Promise<void>, string]>([
    ["a content", () => write({ "src/a": "A" }), "1 of 4 files changed: a"],
    ["a mode", () => chmod(join(context, "src/deep/c"), 0o700), "1 of 4 files changed: deep/c"],
    ["a new file", () => write({ "src/new": "" }), "1 added: new"],
    ["a file less", () => unlink(join(context, "src/b")), "1 removed: b"],
    ["an ignored file", () => write({ ".dockerignore": "src/a\n" }), "1 removed: a"],
  ])("is made anew for %s, which is named", async (_, change, reason) => {
    await build();
    await change();
    const { made, because } = await build();
    expect(made).toEqual([COPY, "COPY other /o"]);
    expect(because[COPY]).toEqual([reason]);
    expect(because["COPY other /o"]).toEqual(["what it is built upon has changed"]);
  });

  test("is made anew for a file that has changed under the same times and the same size", async () => {
    const path = join(context, "src/a");
    const old = new Date(1_600_000_000_000);
    await utimes(path, old, old);
    await build();
    await build();
    await writeFile(path, "b");
    await utimes(path, old, old);
    expect((await build()).made).toContain(COPY);
  });

  test("is made anew for other flags and another destination", async () => {
    await build();
    for (const line of [
      "COPY --chmod=600 src /src",
      "COPY --chown=1:2 src /src",
      "COPY src /dst",
    ]) {
      await write({ Dockerfile: `FROM scratch\n${line}\n` });
      expect((await build()).made).toEqual([line]);
    }
    await write({ Dockerfile: "FROM scratch\nWORKDIR /w\nCOPY src src\n" });
    await build();
    await write({ Dockerfile: "FROM scratch\nWORKDIR /v\nCOPY src src\n" });
    expect((await build()).made).toEqual(["WORKDIR /v", "COPY src src"]);
  });

  test.each(["", "--exclude=*.txt "])(
    "knows an empty directory from a wildcard that finds nothing, with flags '%s'",
    async (flags) => {
      const line = `COPY ${flags}d* /to/`;
      await write({ Dockerfile: `FROM scratch\n${line}\n` });
      const exact = { reproducible: true };
      const nothing = await build(exact);
      await mkdir(join(context, "d"));
      const empty = await build(exact);
      expect(empty.made).toEqual([line]);
      expect(empty.digest).not.toBe(nothing.digest);
      expect(empty.digest).toBe((await build({ ...exact, cache: false })).digest);
      await rm(join(context, "d"), { recursive: true });
      expect(await build(exact)).toMatchObject({ made: [], digest: nothing.digest });
    },
  );

  test("is cached where a file replaces another that is copied too, which nobody reads", async () => {
    await write({ Dockerfile: "FROM scratch\nCOPY a b /y\nCOPY one two /z/\n", a: "a", b: "b" });
    await write({ "one/f": "1", "two/f": "2" });
    await sleep(150);
    await build();
    expect((await build()).made).toEqual([]);
    await write({ a: "A" });
    expect((await build()).made).toContain("COPY a b /y");
  });

  test("fails where an empty directory comes to stand beside the file that was copied", async () => {
    await write({ Dockerfile: "FROM scratch\nCOPY d* /to\n", d1: "a file" });
    await build();
    await mkdir(join(context, "d2"));
    await expect(build()).rejects.toThrow("cannot copy to non-directory: /to");
  });

  test("does not mind what is said of the image between the steps", async () => {
    await build();
    await write({
      Dockerfile: `FROM scratch\nLABEL a=b\n${COPY}\nCMD x\nCOPY other /o\nEXPOSE 1\n`,
    });
    expect((await build()).made).toEqual([]);
  });

  test("is looked for nowhere with --no-cache, and kept all the same; for one stage alone, too", async () => {
    const text = `FROM scratch AS one\n${COPY}\nFROM scratch AS two\nCOPY --from=one /src /x\nCOPY other /o\n`;
    await write({ Dockerfile: text });
    await build({ noCache: true });
    expect((await build()).made).toEqual([]);
    expect((await build({ noCache: true })).made).toHaveLength(3);
    expect((await build({ noCache: ["ONE"] })).made).toEqual([]);
    expect((await build({ noCache: ["two"] })).made).toHaveLength(2);
  });

  test("leaves nothing with --cache=false", async () => {
    await build({ cache: false });
    expect(await readdir(join(dir.path, "store"))).not.toContain("records");
    expect((await build()).made).toHaveLength(2);
  });

  test("is packed again where it is to be compressed in another way", async () => {
    const gzip = await build();
    const zstd = await build({ compression: "zstd" });
    expect(zstd.made).toEqual([]);
    expect(zstd.digest).not.toBe(gzip.digest);
    expect((await build()).digest).toBe(gzip.digest);
  });

  test("is made anew when its layer is gone from the store", async () => {
    const first = await build({ reproducible: true });
    await rm(join(dir.path, "store/blobs"), { recursive: true });
    const second = await build({ reproducible: true });
    expect(second).toMatchObject({ digest: first.digest, cached: [] });
  });

  test("is explained without being built", async () => {
    await build();
    await appendFile(join(context, "src/a"), "!");
    const steps = await explain(optionsOf());
    expect(
      steps.map(({ text, line, isCached, because }) => [text, line, isCached, because]),
    ).toEqual([
      [COPY, 2, false, ["1 of 4 files changed: a"]],
      ["COPY other /o", 3, false, ["what it is built upon has changed"]],
    ]);
    // Nothing was kept by it: it says so again.
    expect(await explain(optionsOf())).toEqual(steps);
    await build();
    expect((await explain(optionsOf())).every(({ isCached }) => isCached)).toBe(true);
  });
});

describe("a stage that is copied from", () => {
  const USER = "COPY --from=maker /made/out /out";
  const text = (extra = ""): string =>
    `FROM scratch AS maker\nCOPY src /made\n${extra}FROM scratch\n${USER}\nCOPY other /o\n`;
  beforeEach(async () => {
    await write({ "src/out": "out", "src/unused": "1", other: "o", Dockerfile: text() });
  });

  test("is not opened when nothing of it is needed", async () => {
    await build();
    const { events, cached } = await build();
    expect(cached).toEqual([USER, "COPY other /o"]);
    const stages = events.flatMap((event) => (event.type === "step-start" ? [event.stage] : []));
    expect(stages).not.toContain("maker");
  });

  test("is made anew for what nobody copies, and those who copy are not", async () => {
    const first = await build();
    await write({ "src/unused": "2" });
    const second = await build();
    expect(second).toMatchObject({ made: ["COPY src /made"], digest: first.digest });
    // Now by definition: the stage stays closed.
    expect((await build()).made).toEqual([]);
  });

  test("changes those who copy what has changed, and says which file", async () => {
    await build();
    await write({ "src/out": "other" });
    const { made, because } = await build();
    expect(made).toContain(USER);
    expect(because[USER]).toEqual(["1 of 1 files changed: out"]);
  });

  test("counts by what it holds, whatever it is called", async () => {
    await build();
    await write({ Dockerfile: text().replaceAll("maker", "other-name") });
    expect((await build()).made).toEqual([]);
  });
});

describeUnless([lacksTools("busybox", "skopeo"), lacksBuild()], "a step that runs", () => {
  const options = async (): Promise<Partial<BuildOptions>> => ({
    buildContexts: { base: `oci-layout://${await busyboxBase()}` },
  });

  test("is made anew for what it sees, and for nothing else", async () => {
    const RUN = "RUN echo $V $E > /tmp/v";
    await write({ Dockerfile: `FROM base\nARG V=1\nARG UNUSED\nENV E=e\n${RUN}\n` });
    const base = await options();
    await build(base);
    expect((await build({ ...base, buildArgs: { NOBODY: "1" } })).made).toEqual([]);
    expect((await build({ ...base, labels: { a: "b" } })).made).toEqual([]);
    const changed = await build({ ...base, buildArgs: { V: "2" } });
    expect(changed.because[RUN]).toEqual(["build-arg V 1 -> 2"]);
    const secret = `FROM base\nARG API_TOKEN=abc\n${RUN}\n`;
    await write({ Dockerfile: secret });
    await build({ ...base, buildArgs: { API_TOKEN: "one-secret" } });
    const other = await build({ ...base, buildArgs: { API_TOKEN: "two-secret" } });
    expect(other.because[RUN]?.join()).toMatch(/^build-arg API_TOKEN sha256:\w+ -> sha256:\w+$/);
    await write({ Dockerfile: secret.replace("base", "base\nUSER 5") });
    expect((await build(base)).because[RUN]?.join()).toContain("USER");
  });

  test("that is run again with another result takes what follows along", async () => {
    const lines = ["RUN cat /proc/sys/kernel/random/uuid > /id", "RUN cp /id /copy"];
    await write({
      Dockerfile: [
        "FROM base AS made",
        ...lines,
        "FROM scratch",
        "COPY --from=made /id /copy /",
        "",
      ].join("\n"),
    });
    const base = await options();
    await build(base);
    expect((await build(base)).made).toEqual([]);
    const again = await build({ ...base, noCache: ["made"] });
    expect(again.made).toEqual([...lines, "COPY --from=made /id /copy /"]);
    expect((await build(base)).made).toEqual([]);
  });

  test("is made anew for the files that are mounted, not for where they are mounted from", async () => {
    const RUN = "RUN --mount=type=bind,source=src,target=/m cat /m/a > /a";
    await write({ Dockerfile: `FROM base\n${RUN}\n`, "src/a": "a", outside: "1" });
    const base = await options();
    await build(base);
    await write({ outside: "2" });
    expect((await build(base)).made).toEqual([]);
    await write({ "src/a": "b" });
    expect((await build(base)).because[RUN]).toEqual(["1 of 1 files changed: a"]);
  });

  test("does not mind what a secret or a cache holds", async () => {
    const RUN = "RUN --mount=type=secret,id=s --mount=type=cache,target=/c date > /c/x; true";
    await write({ Dockerfile: `FROM base\n${RUN}\n`, s: "1" });
    const base = { ...(await options()), secrets: { s: { file: join(context, "s") } } };
    await build(base);
    await write({ s: "2" });
    expect((await build(base)).made).toEqual([]);
  });
});
