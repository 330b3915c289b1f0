import { spawn } from "node:child_process";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CheckedStore, PruneResult, StoreUsage } from "../../src/index.js";
import { busyboxBase } from "../support/bases.js";
import {
  CHECKOUT,
  lacksBuild,
  plainEnvironment,
  untilNothingIsLeft,
} from "../support/tools-cli.js";
import { lacksTools, run, tempDir, type Outcome, type TempDir } from "../support/tools.js";
import { describeUnless, expectCode } from "../support/tools-suite.js";
import { lacksUsers, reachableApp, runAs, userWithSubIds } from "../support/users.js";

const isFull = (process.env["TSBUILD_TEST_FULL"] ?? "") !== "";
/** Builds that are killed. */
const KILLS = Number(process.env["TSBUILD_TEST_KILLS"] ?? (isFull ? 50 : 5));
/** Builds at once. */
const MANY = isFull ? 20 : 8;
const ENTRY = join(CHECKOUT, "bin/tsbuild.js");

/** What a killed build must not spoil: a cache mount, files of other owners, a hard link, COPY and a second stage. */
const DOCKERFILE = `FROM base AS made
RUN --mount=type=cache,target=/cache echo more >> /cache/log; mkdir -m 700 /own; dd if=/dev/zero of=/own/big bs=64k count=40; chown -R 7:8 /own
COPY file /file
RUN ln /file /link && i=0; while [ $i -lt 200 ]; do echo $i > /f$i; i=$((i+1)); done
FROM base
COPY --from=made /own/big /link /
RUN --mount=type=cache,target=/cache cat /link >> /all && echo done >> /all
`;

describeUnless([lacksTools("busybox"), lacksBuild()], "the store beside builds", () => {
  let dir: TempDir;
  let base: string;
  beforeAll(async () => {
    dir = await tempDir();
    base = `base=oci-layout://${await busyboxBase()}:latest`;
  });
  afterAll(async () => {
    await dir[Symbol.asyncDispose]();
  });

  async function contextOf(name: string, content: string): Promise<string> {
    const context = join(dir.path, name);
    await mkdir(context, { recursive: true });
    await writeFile(join(context, "Dockerfile"), DOCKERFILE);
    await writeFile(join(context, "file"), content);
    return context;
  }

  const argsOf = (context: string, store: string, extra: readonly string[] = []): string[] => [
    ENTRY,
    `--context=${context}`,
    `--build-context=${base}`,
    `--store=${store}`,
    "--no-push",
    "--reproducible",
    ...extra,
  ];
  const env = (): NodeJS.ProcessEnv => plainEnvironment();

  async function build(
    context: string,
    store: string,
    extra: readonly string[] = [],
  ): Promise<string> {
    const outcome = await run(process.execPath, argsOf(context, store, extra), { env: env() });
    expectCode(outcome, 0);
    return digestOf(outcome);
  }

  const digestOf = ({ stderr }: Outcome): string => /^built (\S+)$/m.exec(stderr)?.[1] ?? stderr;

  async function tend(store: string, ...args: readonly string[]): Promise<Outcome> {
    const outcome = await run(
      process.execPath,
      [ENTRY, ...args, "--store", store, "--format=json"],
      { env: env() },
    );
    expectCode(outcome, 0);
    return outcome;
  }

  async function expectHealthy(store: string): Promise<void> {
    const outcome = await run(
      process.execPath,
      [ENTRY, "store", "check", "--store", store, "--format=json"],
      { env: env() },
    );
    const { faults } = JSON.parse(outcome.stdout) as CheckedStore;
    expect(faults).toEqual([]);
    expect(outcome.code).toBe(0);
    expect(await readdir(join(store, "staging"))).toEqual([]);
  }

  test(
    `builds that are killed at ${KILLS} moments leave a store that the next one uses, and that is whole`,
    async () => {
      const store = join(dir.path, "killed");
      const context = join(dir.path, "killed-context");
      const started = performance.now();
      const expected: string[] = [];
      for (const content of ["0", "1"]) {
        await contextOf("killed-context", content);
        expected.push(await build(context, join(dir.path, `fresh-${content}`)));
      }
      const whole = (performance.now() - started) / expected.length;
      let killed = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        // Half of them make everything again, half take what is there of what those before have made.
        const content = Math.trunc(kill / 2) % 2;
        await contextOf("killed-context", String(content));
        const extra = kill % 2 === 0 ? ["--no-cache"] : [];
        if (kill % 4 === 3) await rm(store, { recursive: true, force: true });
        const child = spawn(process.execPath, argsOf(context, store, extra), {
          stdio: "ignore",
          env: env(),
        });
        const ended = new Promise((resolve) => child.once("exit", (_, how) => resolve(how)));
        // Spread over a build's time, and at random within.
        await sleep(whole * ((kill + Math.random()) / KILLS));
        child.kill("SIGKILL");
        if ((await ended) === "SIGKILL") killed += 1;
        await untilNothingIsLeft(store);
        expect(await build(context, store)).toBe(expected[content]);
        await expectHealthy(store);
      }
      expect(killed).toBeGreaterThan(0);
    },
    120_000 + KILLS * 30_000,
  );

  test("two builds of the same files at once on a new store make the same, and leave it whole", async () => {
    const store = join(dir.path, "two");
    const context = await contextOf("two-context", "same");
    const [one, other] = await Promise.all([build(context, store), build(context, store)]);
    expect(one).toBe(other);
    expect(one).toMatch(/^sha256:/);
    await expectHealthy(store);
  });

  test(`${MANY} different builds at once on one store make what each makes alone`, async () => {
    const store = join(dir.path, "many");
    const names = Array.from({ length: MANY }, (_, at) => `many-${at}`);
    const contexts = await Promise.all(names.map((name) => contextOf(name, name)));
    const together = await Promise.all(contexts.map((context) => build(context, store)));
    expect(new Set(together).size).toBe(MANY);
    // Alone from an empty store, for some of them: each takes its time.
    for (const at of [0, MANY - 1]) {
      const alone = join(dir.path, `alone-${at}`);
      expect(await build(contexts[at] ?? "", alone)).toBe(together[at]);
      await rm(alone, { recursive: true, force: true });
    }
    await expectHealthy(store);
  }, 300_000);

  test("builds go well while everything that they do not use is deleted again and again", async () => {
    const store = join(dir.path, "pruned");
    const context = await contextOf("pruned-context", "pruned");
    const digest = await build(context, store);
    const stop = new AbortController();
    let freed = 0;
    const pruning = (async () => {
      for (let round = 0; !stop.signal.aborted; round++) {
        const { stdout } = await tend(store, "prune", "--all");
        freed += (JSON.parse(stdout) as PruneResult).bytesFreed;
        if (round % 2 === 0) continue;
        // One that is killed amid its work leaves no half of anything to the builds.
        const args = [ENTRY, "prune", "--all", "--store", store];
        const child = spawn(process.execPath, args, { stdio: "ignore", env: env() });
        const ended = new Promise((resolve) => child.once("exit", resolve));
        await sleep(100 + Math.random() * 300);
        child.kill("SIGKILL");
        await ended;
      }
    })();
    const builder = async (extra: readonly string[]): Promise<void> => {
      for (let round = 0; round < 4; round++) {
        expect(await build(context, store, extra)).toBe(digest);
      }
    };
    try {
      await Promise.all([builder([]), builder(["--no-cache"]), builder(["--driver=plain"])]);
    } finally {
      stop.abort();
      await pruning;
    }
    expect(freed).toBeGreaterThan(0);
    await tend(store, "prune", "--older-than=1h");
    await expectHealthy(store);
  }, 300_000);

  test("du tells what is there by kind, prune keeps to a size, and a second build makes what is gone", async () => {
    const store = join(dir.path, "sizes");
    const context = await contextOf("sizes-context", "sizes");
    const digest = await build(context, store);
    const before = JSON.parse((await tend(store, "du", "-v")).stdout) as StoreUsage;
    const kinds = new Set(before.kinds.map(({ kind }) => kind));
    expect([...kinds]).toEqual(expect.arrayContaining(["blobs", "layers", "indexes", "caches"]));
    expect(before.bytesInUse).toBe(0);
    const actual = await run("du", ["-s", "-B1", store]);
    // The directories that hold it all, and files of a few bytes, are what differs.
    expect(Math.abs(Number.parseInt(actual.stdout) - before.bytes)).toBeLessThan(300_000);
    const keep = before.bytes - 1_000_000;
    const pruned = JSON.parse(
      (await tend(store, "prune", `--keep-storage=${keep}`)).stdout,
    ) as PruneResult;
    expect(pruned.bytesLeft).toBeLessThanOrEqual(keep);
    expect(pruned.bytesFreed).toBe(before.bytes - pruned.bytesLeft);
    expect(await build(context, store)).toBe(digest);
    await expectHealthy(store);
  });

  test("a build keeps the store to its bound, and what it has used itself stays", async () => {
    const store = join(dir.path, "bounded");
    await build(await contextOf("bounded-old", "old"), store, ["--no-cache"]);
    // What was used a moment before a build began counts as used by it: clocks of filesystems lag behind.
    await sleep(1_500);
    const context = await contextOf("bounded-new", "new");
    await writeFile(
      join(context, "Dockerfile"),
      "FROM base\nRUN dd if=/dev/zero of=/z bs=1M count=20\n",
    );
    const extra = ["--keep-storage=200k"];
    const outcome = await run(process.execPath, argsOf(context, store, extra), { env: env() });
    expectCode(outcome, 0);
    expect(outcome.stderr).toMatch(/freed .* of the store: \d+ things/);
    const { entries } = JSON.parse((await tend(store, "du", "-v")).stdout) as StoreUsage;
    // The cache mount was the first build's alone.
    expect(entries.filter(({ kind }) => kind === "caches")).toEqual([]);
    const again = await run(process.execPath, argsOf(context, store, extra), { env: env() });
    expectCode(again, 0);
    expect(digestOf(again)).toBe(digestOf(outcome));
    expect(again.stderr).toMatch(/CACHED/);
  });

  test("damage is found, told and with --repair deleted; the next build makes it anew", async () => {
    const store = join(dir.path, "damaged");
    const context = await contextOf("damaged-context", "damaged");
    const digest = await build(context, store, ["--layer-mounts=off"]);
    const first = async (below: string): Promise<string> => {
      const [name = ""] = await readdir(join(store, below));
      return join(store, below, name);
    };
    const blob = await first("blobs/sha256");
    const index = await first("indexes");
    await writeFile(blob, "other bytes");
    await writeFile(index, "no index");
    await rm(join(await baseLayer(store), "bin"), { recursive: true });
    const check = (...more: readonly string[]): Promise<Outcome> =>
      run(process.execPath, [ENTRY, "store", "check", "--store", store, ...more], { env: env() });
    const found = await check();
    expect(found.code).toBe(74);
    expect(found.stdout).toMatch(/^blobs sha256:[0-9a-f]{64}: its 11 bytes hash to sha256:/m);
    expect(found.stdout).toMatch(/^indexes sha256:[0-9a-f]{64}: it is none/m);
    expect(found.stdout).toMatch(/^layers \S+: \/bin is missing$/m);
    expectCode(await check("--repair"), 0);
    await expectHealthy(store);
    expect(await build(context, store, ["--layer-mounts=off"])).toBe(digest);
  });

  /** The unpacked layer that has a /bin and whose index is whole. */
  async function baseLayer(store: string): Promise<string> {
    for (const idMap of await readdir(join(store, "layers"))) {
      for (const name of await readdir(join(store, "layers", idMap))) {
        const path = join(store, "layers", idMap, name);
        const isBase = await stat(join(path, "bin/busybox")).catch(() => undefined);
        if (isBase !== undefined) return path;
      }
    }
    throw new Error("no unpacked base");
  }
});

describeUnless(
  [lacksUsers(), lacksTools("busybox", "newuidmap"), lacksBuild()],
  "the store of a user whose steps have other ids",
  () => {
    test("is measured and cleared whoever owns its files", async () => {
      await using dir = await tempDir();
      const user = await userWithSubIds();
      await using app = await reachableApp(CHECKOUT, user);
      const home = join(dir.path, "home");
      await mkdir(join(home, "context"), { recursive: true });
      await run("cp", ["-r", await busyboxBase(), join(home, "base")]);
      await writeFile(join(home, "context/Dockerfile"), DOCKERFILE);
      await writeFile(join(home, "context/file"), "file");
      await run("chown", ["-R", `${user.uid}:${user.gid}`, home]);
      await run("chmod", ["755", dir.path]);
      const store = join(home, "store");
      const tsbuild = (...args: readonly string[]): Promise<Outcome> =>
        runAs(user, [app.node, join(app.dir, "bin/tsbuild.js"), ...args, "--store", store]);
      const base = `base=oci-layout://${join(home, "base")}:latest`;
      const context = `--context=${join(home, "context")}`;
      const built = await tsbuild(context, `--build-context=${base}`, "--no-push");
      expectCode(built, 0);
      const used = JSON.parse((await tsbuild("du", "--format=json")).stdout) as StoreUsage;
      expect(used.isPartial).toBe(false);
      // The file that only the step's user may read is measured, too.
      const layers = used.kinds.find(({ kind }) => kind === "layers");
      expect(layers?.bytes).toBeGreaterThan(2_600_000);
      const pruned = await tsbuild("prune", "--all", "--format=json");
      expectCode(pruned, 0);
      const { bytesLeft, problems } = JSON.parse(pruned.stdout) as PruneResult;
      expect({ bytesLeft, problems }).toEqual({ bytesLeft: 0, problems: [] });
      for (const kind of ["layers", "caches"]) {
        for (const idMap of await readdir(join(store, kind))) {
          expect(await readdir(join(store, kind, idMap))).toEqual([]);
        }
      }
    });
  },
);
