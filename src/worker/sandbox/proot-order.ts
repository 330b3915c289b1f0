import type { ResourceLimit } from "./types.js";

/** Where the socket for the listener is, until everything else is closed. */
export const LISTENER_SOURCE = 4;

/** What the first process of a step is told: one JSON text on its standard input. */
export interface ProotOrder {
  readonly program: string;
  /** With the program's name. */
  readonly argv: readonly string[];
  /** "name=value". */
  readonly env: readonly string[];
  /** Descriptor 4 is for the starter. */
  readonly listens: boolean;
  readonly limits: readonly ResourceLimit[];
}

/** What it says on descriptor 3 when it cannot become proot; when it can, the starter says the rest. */
export interface ProotFailure {
  readonly message: string;
}
