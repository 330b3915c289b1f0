import { readFileSync } from "node:fs";
import type { Build, BuildOptions, BuildResult, TsbuildError } from "../index.js";
import { helpText } from "./help.js";
import { parseFlags, type ParsedFlags } from "./parse-flags.js";
import { STDOUT } from "./outputs.js";
import { COLOR, PLAIN } from "./render/format.js";
import type { Renderer, Verbosity } from "./render/types.js";
import { UsageError } from "./usage-error.js";

// A build that never settles must not look like one that went well, should nothing keep the process alive.
process.exitCode = 70;
void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});

/** The exit code. */
async function main(argv: readonly string[]): Promise<number> {
  let verbosity: Verbosity = "info";
  let isTimed = false;
  try {
    const flags = parseFlags(argv);
    verbosity = verbosityOf(flags);
    isTimed = hasTimes(flags);
    if (flags.one.get("help") === "true") process.stdout.write(helpText());
    else if (flags.one.get("version") === "true") process.stdout.write(`tsbuild ${version()}\n`);
    else if (flags.command === "check") return await check(flags);
    else if (flags.command === "doctor") return await doctor(flags);
    else if (flags.command === "explain") return await explain(flags);
    else if (flags.one.get("dryrun") === "true") return await dryrun(flags);
    else if (flags.command === "build") await build(flags, verbosity);
    else return await tend(flags.command, flags);
    return 0;
  } catch (error) {
    return fail(error, verbosity, isTimed);
  }
}

async function check(flags: ParsedFlags): Promise<number> {
  const { runCheck } = await import("./run-check.js");
  return runCheck(flags, process.env, process.stdout, stopSignal());
}

async function doctor(flags: ParsedFlags): Promise<number> {
  const { runDoctor } = await import("./run-doctor.js");
  return runDoctor(flags, process.env, process.stdout, stopSignal());
}

async function explain(flags: ParsedFlags): Promise<number> {
  const { runExplain } = await import("./run-explain.js");
  return runExplain(flags, process.env, process.stdout, stopSignal());
}

async function dryrun(flags: ParsedFlags): Promise<number> {
  const { runDryrun } = await import("./run-dryrun.js");
  return runDryrun(flags, process.env, process.stdout, stopSignal());
}

/** What is done about the store. */
async function tend(command: "du" | "prune" | "store check", flags: ParsedFlags): Promise<number> {
  const { runDu, runPrune, runStoreCheck } = await import("./run-store.js");
  const run = { flags, environment: process.env, out: process.stdout, signal: stopSignal() };
  if (command === "du") return runDu(run);
  return command === "prune" ? runPrune(run) : runStoreCheck(run);
}

async function build(flags: ParsedFlags, verbosity: Verbosity): Promise<void> {
  const [{ start }, { buildOptions }, { idleCacheFlags }, { idleGitKeys }, renderer] =
    await Promise.all([
      import("../index.js"),
      import("./build-options.js"),
      import("./cache.js"),
      import("./git-context.js"),
      rendererFor(flags, verbosity),
    ]);
  if (verbosity === "info" || verbosity === "debug") {
    const idle = [...idleCacheFlags(flags), ...idleGitKeys(flags.many.get("git") ?? [])];
    for (const line of [...flags.ignored, ...idle]) say(line, hasTimes(flags));
  }
  const options: BuildOptions = { ...buildOptions(flags, process.env), signal: stopSignal() };
  refuseTerminal(options);
  await using running: Build = start(options);
  const [result] = await Promise.all([running.result, renderer(running.events)]);
  if (verbosity === "info" || verbosity === "debug") report(result, flags);
}

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  // Once: a second Ctrl-C ends the process at once, and the kernel cleans up after the worker.
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal).once("SIGHUP", onSignal);
  return stop.signal;
}

/** Archives are not for people to read. */
function refuseTerminal({ outputs = [] }: BuildOptions): void {
  const archive = outputs.some((output) => "dest" in output && output.dest === STDOUT);
  if (archive && process.stdout.isTTY) {
    throw new UsageError("an archive would be written to the terminal", "redirect it: > FILE");
  }
}

async function rendererFor(flags: ParsedFlags, verbosity: Verbosity): Promise<Renderer> {
  const out = process.stderr;
  const format = flags.one.get("log-format") ?? (useColor() ? "color" : "text");
  if (format === "json") return (await import("./render/json.js")).jsonRenderer(out);
  const [{ textRenderer }, { logScreen, terminalScreen, timedScreen }] = await Promise.all([
    import("./render/text.js"),
    import("./render/screen.js"),
  ]);
  const plain = out.isTTY ? terminalScreen(out) : logScreen(out);
  const screen = hasTimes(flags) ? timedScreen(plain) : plain;
  const explain = flags.one.get("explain") === "true";
  return textRenderer(screen, format === "color" ? COLOR : PLAIN, { verbosity, explain });
}

/** https://no-color.org */
function useColor(): boolean {
  return (
    process.stderr.isTTY && (process.env["NO_COLOR"] ?? "") === "" && process.env["TERM"] !== "dumb"
  );
}

function report(result: BuildResult, flags: ParsedFlags): void {
  if (flags.one.get("log-format") === "json") return;
  const style = useColor() ? COLOR : PLAIN;
  const lines = [`${style.green("built")} ${result.image.digest}`];
  for (const reference of result.pushed) lines.push(`pushed ${reference}`);
  for (const path of result.written) lines.push(`wrote ${path}`);
  say(lines.join("\n"), hasTimes(flags));
}

/** One message, and the exit code. */
async function fail(error: unknown, verbosity: Verbosity, isTimed: boolean): Promise<number> {
  const known = error instanceof UsageError ? error : await asTsbuildError(error);
  const style = useColor() ? COLOR : PLAIN;
  const message = error instanceof Error ? error.message : String(error);
  say(`${style.red("error:")} ${message}`, isTimed);
  if (known?.hint !== undefined) say(`${style.dim("hint:")} ${known.hint}`, isTimed);
  if (verbosity === "debug" && error instanceof Error) say(`${error.stack}`, isTimed);
  return known?.exitCode ?? 70;
}

/** What the build's events do not say. */
function say(text: string, isTimed: boolean): void {
  const time = `${new Date().toISOString()} `;
  process.stderr.write(`${isTimed ? text.replace(/^/gm, time) : text}\n`);
}

/** JSON has the times of events in them, and what is no event is text for people. */
function hasTimes({ one }: ParsedFlags): boolean {
  return one.get("log-timestamp") === "true" && one.get("log-format") !== "json";
}

async function asTsbuildError(error: unknown): Promise<TsbuildError | undefined> {
  const library = await import("../index.js");
  return error instanceof library.TsbuildError ? error : undefined;
}

function verbosityOf(flags: ParsedFlags): Verbosity {
  const level = flags.one.get("verbosity") ?? "info";
  if (level === "trace" || level === "debug") return "debug";
  if (level === "info" || level === "warn") return level;
  return "error";
}

function version(): string {
  const file = new URL("../../package.json", import.meta.url);
  const parsed: unknown = JSON.parse(readFileSync(file, "utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed
    ? String(parsed.version)
    : "unknown";
}
