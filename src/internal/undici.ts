import { setFlagsFromString } from "node:v8";

export type { Dispatcher } from "undici";

/** Of what V8 counts until it compiles a function once more, and better: more than a build gets through. */
const NEVER = 2_000_000_000;

/**
 * The HTTP client, loaded when it is first needed. It reads answers by WebAssembly, from
 * now on compiled once and not optimized: to do that to the one large function in it takes V8 40 MB and a third of a
 * second of processor time, which the headers of a build never earn. Bodies pass it by.
 */
export function loadUndici(): Promise<Pick<typeof import("undici"), "Agent" | "ProxyAgent">> {
  setFlagsFromString(`--wasm-tiering-budget=${NEVER}`);
  return import("undici");
}
