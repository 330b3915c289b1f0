import { StringDecoder } from "node:string_decoder";
import type { BuildEvent } from "../../index.js";
import type { Renderer } from "./types.js";

/** One JSON object a line; output is text, diagnostics carry their place. */
export function jsonRenderer(out: NodeJS.WritableStream): Renderer {
  const decoders = new Map<string, StringDecoder>();
  return async (events) => {
    for await (const event of events) out.write(`${JSON.stringify(plain(event, decoders))}\n`);
  };
}

function plain(event: BuildEvent, decoders: Map<string, StringDecoder>): unknown {
  if (event.type === "warning") {
    const { severity, code, message, span, hint } = event.diagnostic;
    const line = span.file.text.slice(0, span.start).split("\n").length;
    return { ...event, diagnostic: { severity, code, message, hint, file: span.file.path, line } };
  }
  if (event.type !== "step-output") return event;
  const { chunk, ...rest } = event;
  const key = `${event.step} ${event.stream}`;
  const decoder = decoders.get(key) ?? new StringDecoder("utf8");
  decoders.set(key, decoder);
  return { ...rest, text: decoder.write(Buffer.from(chunk)) };
}
