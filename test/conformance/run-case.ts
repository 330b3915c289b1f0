/** Builds one case as its author's user would, and says what is wrong with the outcome. */
import { chown, mkdir, mkdtemp } from "node:fs/promises";
import { dirname, join } from "node:path";
import { stackLines } from "../support/tools-cli.js";
import { mustRun, removeTree, type Outcome } from "../support/tools.js";
import type { Case, Tree, TreeEntry } from "./cases.js";
import { readImage } from "./image.js";
import { judgeImage } from "./judge.js";
import { startServer } from "./server.js";
import { writeTree, type Owner } from "./tree.js";
import type { CaseBuilder } from "./ways.js";

export interface CaseOutcome {
  /** A sentence for each thing that is wrong; empty when the case passes. */
  readonly wrong: readonly string[];
  /** The build's whole output. */
  readonly log: string;
  readonly outcome: Outcome;
  readonly seconds: number;
  /** Where context, log and image lie, when they were to be kept. */
  readonly dir: string;
}

/** Runs the case to its end. Its files are removed again unless `keep` is set. */
export async function runCase(
  one: Case,
  builder: CaseBuilder,
  { keep = false }: { readonly keep?: boolean } = {},
): Promise<CaseOutcome> {
  const start = Date.now();
  const dir = await mkdtemp(join(builder.dir, `${one.id}.`));
  try {
    if (builder.user !== undefined) await chown(dir, builder.user.uid, builder.user.gid);
    await using server = await startServer(one, join(dir, "git"));
    const argv = await prepare(one, dir, server.host, builder.user);
    const outcome = await builder.build(argv, { cwd: dir, env: { ...one.env } });
    const log = outcome.stdout + outcome.stderr;
    const wrong = await judge(one, outcome, log, join(dir, "image"));
    return { wrong, log, outcome, seconds: (Date.now() - start) / 1000, dir };
  } finally {
    if (!keep) await removeCase(dir);
  }
}

/** Writes what the case builds from, and answers the flags for it. */
async function prepare(
  one: Case,
  dir: string,
  host: string,
  owner: Owner | undefined,
): Promise<readonly string[]> {
  const fill = (text: string): string =>
    text
      .replaceAll("{http}", `http://${host}`)
      .replaceAll("{httphost}", host)
      .replaceAll("{extra}", join(dir, "extra"));
  const context = join(dir, "context");
  const name = one.dockerfileName ?? "Dockerfile";
  const home = one.dockerfileOutside === true ? join(dir, "dockerfile") : context;
  const dockerfile: Tree =
    one.dockerfile === undefined ? {} : { [name]: { content: fill(one.dockerfile) } };
  const inside = home === context ? dockerfile : {};
  await writeTree(context, { ...one.context, ...inside }, owner);
  if (home !== context) await writeTree(home, dockerfile, owner);
  if (one.dockerfileSibling !== undefined) {
    await writeTree(dirname(join(home, name)), one.dockerfileSibling, owner);
  }
  await writeExtra(one, join(dir, "extra"), owner);
  return [
    `--dockerfile=${join(home, name)}`,
    `--context=${context}`,
    `--oci-layout-path=${join(dir, "image")}`,
    ...one.args.map(fill),
  ];
}

async function writeExtra(one: Case, dir: string, owner: Owner | undefined): Promise<void> {
  const files: Record<string, TreeEntry> = {};
  for (const [name, extra] of Object.entries(one.extra ?? {})) {
    if (typeof extra === "string" || !("files" in extra)) files[name] = extra;
    else await writeTree(join(dir, name), extra.files, owner);
  }
  await mkdir(dir, { recursive: true });
  await writeTree(dir, files, owner);
}

async function judge(
  one: Case,
  outcome: Outcome,
  log: string,
  layout: string,
): Promise<readonly string[]> {
  const wrong = (one.warnRegex ?? []).flatMap((pattern) =>
    new RegExp(pattern, "s").test(log) ? [] : [`the output lacks /${pattern}/`],
  );
  wrong.push(...stackLines(outcome).map((line) => `a stack trace: ${line}`));
  if (outcome.code === null) return [...wrong, `${outcome.signal} ended the build`];
  if (one.expectSuccess) {
    if (outcome.code !== 0) return [...wrong, `the build failed with ${outcome.code}`];
    return [...wrong, ...judgeImage(one, await readImage(layout, one.platform))];
  }
  if (outcome.code === 0) return [...wrong, "the build succeeded; it must fail"];
  if (one.errorRegex !== undefined && !new RegExp(one.errorRegex, "is").test(log)) {
    wrong.push(`the output does not match /${one.errorRegex}/`);
  }
  return wrong;
}

async function removeCase(dir: string): Promise<void> {
  // A context may have directories that their owner cannot enter.
  if (process.getuid?.() !== 0) await mustRun("chmod", ["-R", "u+rwX", dir]);
  await removeTree(dir);
}
