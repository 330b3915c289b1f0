import type { Given, Intents, Owner } from "./intents.js";
import type { Change } from "../../layer/types.js";

/** What to mount, as data. A snapshot says it; a sandbox does it. */
export type RootMount =
  | {
      readonly kind: "directory";
      readonly path: string;
      /** Where owners cannot be kept in files: what is known of them. */
      readonly intents?: Intents;
      /** Where owners cannot be kept in files: hears, after a step, whose the files are that it made, and which it gave away. */
      readonly tellOwners?: (maker: Owner, given: ReadonlyMap<bigint, Given>) => void;
    }
  | {
      readonly kind: "overlay";
      /** Topmost first. */
      readonly lower: readonly string[];
      readonly upper: string;
      readonly work: string;
      /** An empty directory to mount on. */
      readonly target: string;
    };
export type { Change };
