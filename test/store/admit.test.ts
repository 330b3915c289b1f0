import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openStore } from "../../src/store/index.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksRoot, run, tempDir } from "../support/tools.js";

describeUnless([lacksRoot()], "a store that lets another id in", () => {
  const signal = new AbortController().signal;
  const owner = { uid: 100_000, gid: 100_000 };
  /** Whether a shell of that id gets somewhere. */
  const can = async (script: string, id = owner): Promise<boolean> => {
    const ids = ["--reuid", String(id.uid), "--regid", String(id.gid), "--clear-groups"];
    return (await run("setpriv", [...ids, "--", "sh", "-c", script])).code === 0;
  };

  test("opens to it the blobs, its layers and this build's staging directory, and to nobody else anything", async () => {
    await using dir = await tempDir();
    await run("chmod", ["711", dir.path]);
    const root = join(dir.path, "store");
    await using store = await openStore(root, signal);
    const bytes = (async function* () {
      yield Buffer.from("content");
    })();
    const { digest } = await store.put(bytes, undefined, signal);
    const blob = store.blobPath(digest);
    await run("chmod", ["600", blob]);
    const agent = join(store.staging, "agent");
    await mkdir(agent, { mode: 0o700 });
    await writeFile(join(agent, "socket"), "", { mode: 0o600 });
    expect(await can(`cat ${blob}`)).toBe(false);
    expect(await store.admit(owner, "0-100000-65536")).toBe(root);
    const layers = await store.layersDirectory("0-100000-65536");
    for (const script of [
      `cat ${blob}`,
      `echo >${store.staging}/new && cat ${agent}/socket`,
      `mkdir ${layers}/layer`,
      `mkdir ${await store.cachesDirectory("0-100000-65536")}/cache`,
    ]) {
      expect(await can(script), script).toBe(true);
      expect(await can(script, { uid: 1234, gid: 1234 }), script).toBe(false);
    }
    const others = await store.layersDirectory("host");
    for (const script of [
      `ls ${root}`,
      `ls ${others}`,
      `echo >${blob}`,
      `rm ${blob}`,
      `ls ${root}/blobs/sha256`,
    ]) {
      expect(await can(script), script).toBe(false);
    }
    expect((await stat(root)).uid).toBe(0);
  });
});
