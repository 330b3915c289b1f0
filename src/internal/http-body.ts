import { messageOf } from "../errors.js";
import { watchGarbage } from "./young-garbage.js";

/** A body to send: bytes, or a stream of a known length that can be opened again. */
export type HttpBody =
  Uint8Array | { readonly size: number; readonly open: () => AsyncIterable<Uint8Array> };

/** The header that announces a body, or that there is none where servers expect one. */
export function lengthOf(request: {
  readonly method: string;
  readonly body?: HttpBody;
}): Record<string, string> {
  const { method, body } = request;
  if (body !== undefined) {
    return { "content-length": String(body instanceof Uint8Array ? body.length : body.size) };
  }
  return ["POST", "PUT", "PATCH"].includes(method) ? { "content-length": "0" } : {};
}

/** No byte moved for too long. Counts as a broken connection. */
export class StallError extends Error {
  override readonly name: string = "StallError";
  readonly code: string = "ETIMEDOUT";
}

/** What was to be sent could not be read; `cause` is what its source threw. */
export class SourceError extends Error {
  override readonly name: string = "SourceError";
}

/** Watches one thing at a time: `arm` starts or restarts the clock, `disarm` stops it. */
export class StallTimer implements Disposable {
  #deadline = Infinity;
  #what = "";
  readonly #interval: NodeJS.Timeout;

  constructor(shortestMs: number, onStall: (error: StallError) => void) {
    const check = (): void => {
      if (Date.now() < this.#deadline) return;
      this[Symbol.dispose]();
      onStall(new StallError(this.#what));
    };
    // A clock that looks now and then costs nothing per chunk, unlike a timer that is set anew for each.
    this.#interval = setInterval(check, Math.max(10, Math.min(1000, shortestMs / 4))).unref();
  }

  arm(ms: number, waitingFor: string): void {
    this.#deadline = Date.now() + ms;
    this.#what = `${waitingFor} for ${Math.round(ms / 100) / 10} s`;
  }

  disarm(): void {
    this.#deadline = Infinity;
  }

  [Symbol.dispose](): void {
    this.#deadline = Infinity;
    clearInterval(this.#interval);
  }
}

export interface BodyEvents {
  /** Bytes handed to the socket. */
  readonly onSent: (bytes: number) => void;
  /** The source failed: the request fails for this reason, not for the broken socket that follows from it. */
  readonly onFailure: (error: unknown) => void;
  readonly timer: StallTimer;
  readonly stallMs: number;
  readonly answerMs: number;
}

/**
 * Reads one chunk ahead, so that the source has ended (and verified itself) before its last chunk goes out, and the
 * stream ends together with that chunk: a body that ends later costs the connection its keep-alive.
 */
export async function* uploadBody(
  body: Exclude<HttpBody, Uint8Array>,
  events: BodyEvents,
): AsyncGenerator<Uint8Array> {
  const garbage = watchGarbage();
  let held: Uint8Array | undefined;
  let read = 0;
  try {
    events.timer.disarm();
    for await (const chunk of body.open()) {
      if (chunk.length === 0) continue;
      read += chunk.length;
      if (read > body.size) throw new Error(`the source holds more than ${body.size} bytes`);
      if (held !== undefined) {
        events.timer.arm(events.stallMs, "no byte could be sent");
        yield held;
        events.onSent(held.length);
        garbage.count(held.length);
        events.timer.disarm();
      }
      held = chunk;
    }
    if (read !== body.size) {
      throw new Error(`the source ended after ${read} of ${body.size} bytes`);
    }
  } catch (error) {
    const failure = new SourceError(messageOf(error), { cause: error });
    events.onFailure(failure);
    throw failure;
  }
  events.timer.arm(events.answerMs, "no answer came");
  if (held === undefined) return;
  yield held;
  events.onSent(held.length);
}
