import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { start, type BuildEvent, type BuildOptions } from "../../src/index.js";
import { busyboxBase, pushBase } from "../support/bases.js";
import type { MemoryRegistry } from "../support/memory-registry.js";
import { startRegistry } from "../support/services.js";
import { startTokenServer } from "../support/token-server.js";
import { lacksBuild } from "../support/tools-cli.js";
import { describeUnless } from "../support/tools-suite.js";
import { lacksTools, tempDir } from "../support/tools.js";
import { gate, memoryRegistry, workshop } from "./pushing.js";

interface Shut {
  readonly registry: MemoryRegistry;
  readonly keychain: NonNullable<BuildOptions["keychain"]>;
}

/** A registry that lets its user read, and nothing else. */
async function readOnly(): Promise<Shut> {
  const grants = (_: string, __: string, action: string): boolean => action === "pull";
  const tokens = await startTokenServer({ users: { ann: "pw" }, grants });
  onTestFinished(() => tokens[Symbol.asyncDispose]());
  const registry = await memoryRegistry({ auth: { kind: "bearer", tokens } });
  const secret = { kind: "basic", username: "ann", password: "pw" } as const;
  const keychain: Shut["keychain"] = ({ registry: host }) =>
    Promise.resolve(host === registry.host ? { secret, source: "test" } : undefined);
  return { registry, keychain };
}

const REFUSED = {
  code: "REGISTRY_DENIED",
  message: expect.stringContaining("tried to check the right to push") as string,
} as const;

test("a refused push ends a build that fetches what ADD names", async () => {
  const [{ build }, { registry, keychain }, door] = [
    await workshop(),
    await readOnly(),
    await gate(),
  ];
  const destinations = [`${registry.host}/org/app:1`];
  // The gate is never opened.
  const text = `FROM scratch\nADD ${door.url} /gate\n`;
  await expect(build(text, { destinations, keychain })).rejects.toMatchObject(REFUSED);
});

test("a refused push ends a build whose context is still on its way", async () => {
  const [{ store }, { registry, keychain }, door] = [
    await workshop(),
    await readOnly(),
    await gate(),
  ];
  const destinations = [`${registry.host}/org/app:1`];
  const context = `${door.url}/context.tar.gz`;
  await using running = start({ context, store, destinations, keychain });
  await expect(running.result).rejects.toMatchObject(REFUSED);
});

describeUnless(
  [lacksTools("docker-registry", "skopeo", "busybox"), lacksBuild()],
  "with a command,",
  () => {
    test("a refused push ends a build before its first command", async () => {
      await using images = await startRegistry();
      const base = await pushBase(await busyboxBase(), images, "library/busybox:latest");
      await using dir = await tempDir();
      const dockerfile = join(dir.path, "Dockerfile");
      await writeFile(dockerfile, `FROM ${base}\nRUN echo it runs\n`);
      const { registry, keychain } = await readOnly();
      const destinations = [`${registry.host}/org/app:1`];
      const options = { context: dir.path, dockerfile, store: join(dir.path, "store") };
      await using running = start({ ...options, destinations, keychain });
      const events: BuildEvent[] = [];
      for await (const event of running.events) events.push(event);
      await expect(running.result).rejects.toMatchObject(REFUSED);
      expect(events.filter(({ type }) => type === "step-output")).toEqual([]);
    });
  },
);
