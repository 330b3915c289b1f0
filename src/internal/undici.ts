export type { Dispatcher } from "undici";

/**
 * The HTTP client, loaded when it is first needed. It reads answers by WebAssembly, which the build sees to that V8
 * compiles once and does not optimize (scripts/wasm-module.mjs): for the one large function in it that takes 40 MB and
 * a third of a second of processor time, which the headers of a build never earn. Bodies pass it by.
 */
export function loadUndici(): Promise<Pick<typeof import("undici"), "Agent" | "ProxyAgent">> {
  return import("undici");
}
