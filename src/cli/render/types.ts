import type { BuildEvent } from "../../index.js";

/** Shows events until there are no more. */
export type Renderer = (events: AsyncIterable<BuildEvent>) => Promise<void>;

/** Where a renderer writes: lines that stay, and on a terminal a line that changes. */
export interface Screen {
  line(text: string): void;
  /** The changing line at the bottom; "" takes it away. */
  status(text: string): void;
}

/** From everything to errors alone. */
export type Verbosity = "debug" | "info" | "warn" | "error";
