import { createSemaphore, type Semaphore } from "./semaphore.js";

/** Connections to one origin. Registries throttle who opens many, and each costs a handshake. */
const SOCKETS = 4;

/** What a request of an origin needs before it may go out. */
interface Sockets {
  readonly all: Semaphore;
  /**
   * Of these, those that send a body that is read from elsewhere. It may come from the same origin, as a layer does
   * that goes from one repository to another: were all connections sending, none could read.
   */
  readonly sending: Semaphore;
  /** Until a connection that has just been given back can be used again. */
  rest: Promise<void>;
}

/**
 * Who may use a connection to an origin, first come first served. The library's own bound would count the time in its
 * queue as the server's, and its pools open a new connection where one has only just become free.
 */
export class SocketTurns {
  readonly #origins = new Map<string, Sockets>();
  readonly #asked = new Set<string>();

  /** A connection that only asks whether a host speaks TLS is one of those that it sees: there is one fewer for requests. */
  ask(host: string): void {
    this.#asked.add(host);
  }

  /**
   * @param isSending whether a body goes out that is read piece by piece
   * @returns to be disposed when the answer has been read, once or more often. Rejects with the signal's reason.
   */
  async take(origin: string, isSending: boolean, signal: AbortSignal): Promise<Disposable> {
    const sockets = this.#of(origin);
    const turns = isSending ? [await sockets.sending.acquire(signal)] : [];
    const end = (): void => turns.forEach((turn) => turn[Symbol.dispose]());
    try {
      turns.push(await sockets.all.acquire(signal));
      await sockets.rest;
      signal.throwIfAborted();
    } catch (error) {
      end();
      throw error;
    }
    let isHeld = true;
    return {
      [Symbol.dispose]() {
        if (!isHeld) return;
        isHeld = false;
        sockets.rest = untilReusable();
        void sockets.rest.then(end);
      },
    };
  }

  #of(origin: string): Sockets {
    const known = this.#origins.get(origin);
    if (known !== undefined) return known;
    const all = this.#asked.has(new URL(origin).host) ? SOCKETS - 1 : SOCKETS;
    const made: Sockets = {
      all: createSemaphore(all),
      sending: createSemaphore(all - 1),
      rest: Promise.resolve(),
    };
    this.#origins.set(origin, made);
    return made;
  }
}

/** The library waits for one turn of the event loop, in case that a server sends more than it should. */
function untilReusable(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(() => setImmediate(resolve));
  });
}
