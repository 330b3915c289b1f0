/** What a build of the executor image is given, of which its own Dockerfile takes files one by one. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CHECKOUT } from "../support/tools-cli.js";

test("the executor image is given every script that bundling takes", async () => {
  const build = await readFile(join(CHECKOUT, "scripts/build.mjs"), "utf8");
  const dockerfile = await readFile(join(CHECKOUT, "deploy/executor/Dockerfile"), "utf8");
  const scripts = new Set(build.match(/scripts\/[\w.-]+/g));
  expect([...scripts]).not.toEqual([]);
  for (const script of scripts) expect(dockerfile).toContain(`${script} `);
});
