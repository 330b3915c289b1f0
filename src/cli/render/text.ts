import { StringDecoder } from "node:string_decoder";
import type { BuildEvent, StepId } from "../../index.js";
import { formatBytes, formatSeconds, type Style } from "./format.js";
import type { Renderer, Screen, Verbosity } from "./types.js";

/** Milliseconds between two looks of the status line. */
const TICK = 100;
/** Characters of a step's text in the log; the Dockerfile has the rest. */
const MAX_TEXT = 200;

export interface TextOptions {
  readonly verbosity: Verbosity;
  /** Say of each step that the cache did not have what has changed. */
  readonly explain: boolean;
}

type Of<T extends BuildEvent["type"]> = Extract<BuildEvent, { type: T }>;

/** Steps with their number, text, output, time and size, as they happen; parallel stages are told apart by their name. */
export function textRenderer(screen: Screen, style: Style, options: TextOptions): Renderer {
  return async (events) => {
    const log = new TextLog(screen, style, options);
    const timer = setInterval(() => log.tick(), TICK);
    try {
      for await (const event of events) log.show(event);
    } finally {
      clearInterval(timer);
      log.end();
    }
  };
}

interface RunningStep {
  /** Without colours: the status line is cut by characters. */
  readonly tag: string;
  readonly text: string;
  readonly started: number;
}

class TextLog {
  readonly #screen: Screen;
  readonly #style: Style;
  readonly #verbosity: Verbosity;
  readonly #explain: boolean;
  readonly #numbers = new Map<StepId, string>();
  readonly #perStage = new Map<string, number>();
  readonly #running = new Map<StepId, RunningStep>();
  /** Output that has no newline yet, by step and stream. */
  readonly #partial = new Map<string, { text: string; readonly decoder: StringDecoder }>();
  readonly #transfers = new Map<string, Of<"transfer">>();

  constructor(screen: Screen, style: Style, { verbosity, explain }: TextOptions) {
    this.#screen = screen;
    this.#style = style;
    this.#verbosity = verbosity;
    this.#explain = explain || verbosity === "debug";
  }

  show(event: BuildEvent): void {
    switch (event.type) {
      case "plan":
        return this.#plan(event);
      case "step-start":
        return this.#start(event);
      case "step-output":
        return this.#output(event);
      case "step-done":
        return this.#done(event);
      case "step-cached":
        this.#running.delete(event.step);
        this.#info(`${this.#tag(event.step)} ${this.#style.green("CACHED")}`);
        return;
      case "step-missed":
        return this.#missed(event);
      case "step-failed":
        this.#flush(event.step);
        this.#running.delete(event.step);
        return;
      case "driver":
        if (this.#verbosity === "debug") {
          this.#info(
            this.#style.dim(
              `driver: ${event.name}${event.note === undefined ? "" : ` (${event.note})`}`,
            ),
          );
        }
        return;
      case "transfer":
        return this.#transfer(event);
      case "warning":
        return this.#warn(event);
      case "notice":
        return this.#info(event.message);
      case "done":
        return;
    }
  }

  #plan({ steps }: Of<"plan">): void {
    for (const { stage } of steps) this.#perStage.set(stage, (this.#perStage.get(stage) ?? 0) + 1);
    for (const { id, stage } of steps) {
      const name = this.#perStage.size > 1 ? `${stage} ` : "";
      this.#numbers.set(id, `${name}${id.split(".")[1]}/${this.#perStage.get(stage)}`);
    }
  }

  #tag(step: StepId): string {
    return this.#style.cyan(`[${this.#numbers.get(step) ?? step}]`);
  }

  #start({ step, text, time }: Of<"step-start">): void {
    const tag = this.#tag(step);
    const short = shorten(text);
    const number = this.#numbers.get(step) ?? step;
    this.#running.set(step, { tag: `[${number}]`, text: short, started: time });
    this.#info(`${tag} ${this.#style.bold(short)}`);
  }

  #done({ step, ms, layer }: Of<"step-done">): void {
    this.#flush(step);
    this.#running.delete(step);
    // An instruction that only changes the configuration takes no time worth a line.
    if (layer === undefined && ms < 500) return;
    const size = layer === undefined ? "" : `, layer ${formatBytes(layer.size)}`;
    this.#info(`${this.#tag(step)} ${this.#style.dim(`done in ${formatSeconds(ms)}${size}`)}`);
  }

  #missed({ step, because }: Of<"step-missed">): void {
    if (!this.#explain) return;
    for (const line of because) {
      this.#info(`${this.#tag(step)} ${this.#style.dim(`not cached: ${line}`)}`);
    }
  }

  #output({ step, stream, chunk }: Of<"step-output">): void {
    const key = `${step} ${stream}`;
    const partial = this.#partial.get(key) ?? { text: "", decoder: new StringDecoder("utf8") };
    this.#partial.set(key, partial);
    const lines = (partial.text + partial.decoder.write(Buffer.from(chunk))).split("\n");
    partial.text = lines.pop() ?? "";
    for (const line of lines) this.#outputLine(step, line);
  }

  #outputLine(step: StepId, line: string): void {
    // What a carriage return overwrote is gone on a terminal too.
    const visible = line.replace(/\r$/, "");
    const last = visible.slice(visible.lastIndexOf("\r") + 1);
    this.#info(`${this.#tag(step)} ${this.#style.dim("|")} ${last}`);
  }

  #flush(step: StepId): void {
    for (const stream of ["stdout", "stderr"]) {
      const key = `${step} ${stream}`;
      const text = this.#partial.get(key)?.text ?? "";
      if (text !== "") this.#outputLine(step, text);
      this.#partial.delete(key);
    }
  }

  #transfer(event: Of<"transfer">): void {
    if (event.total !== undefined && event.bytes >= event.total) {
      this.#transfers.delete(event.id);
      const verb = event.direction === "pull" ? "pulled" : "pushed";
      this.#info(this.#style.dim(`${verb} ${shortId(event.id)} (${formatBytes(event.total)})`));
    } else {
      this.#transfers.set(event.id, event);
    }
  }

  #warn({ diagnostic }: Of<"warning">): void {
    if (this.#verbosity === "error") return;
    const { span } = diagnostic;
    const line = span.file.text.slice(0, span.start).split("\n").length;
    const label = this.#style.yellow("WARN:");
    this.#screen.line(`${label} ${diagnostic.code}: ${diagnostic.message} (line ${line})`);
  }

  #info(text: string): void {
    if (this.#verbosity === "info" || this.#verbosity === "debug") this.#screen.line(text);
  }

  tick(): void {
    if (this.#verbosity !== "info" && this.#verbosity !== "debug") return;
    const now = Date.now();
    const steps = [...this.#running.values()].map(
      ({ tag, text, started }) => `${tag} ${formatSeconds(now - started)} ${text.slice(0, 40)}`,
    );
    const transfers = [...this.#transfers.values()]
      .slice(0, 2)
      .map(
        ({ id, direction, bytes, total }) =>
          `${direction === "pull" ? "pulling" : "pushing"} ${shortId(id)} ${formatBytes(bytes)}${total === undefined ? "" : `/${formatBytes(total)}`}`,
      );
    this.#screen.status([...transfers, ...steps].join("  "));
  }

  end(): void {
    this.#screen.status("");
  }
}

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > MAX_TEXT ? `${line.slice(0, MAX_TEXT - 1)}…` : line;
}

/** A blob's name with twelve digits of its digest. */
function shortId(id: string): string {
  return id.replace(/(@sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1");
}
