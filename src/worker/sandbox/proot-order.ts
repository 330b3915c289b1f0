import type { ResourceLimit } from "./types.js";

/** What the first process of a step is told: one JSON text on its standard input. */
export interface ProotOrder {
  readonly program: string;
  /** With the program's name. */
  readonly argv: readonly string[];
  /** "name=value". */
  readonly env: readonly string[];
  readonly limits: readonly ResourceLimit[];
}

/** What it says on descriptor 3 when it cannot become proot; when it can, the starter says the rest. */
export interface ProotFailure {
  readonly message: string;
}
