import type { Owner } from "./intents.js";
import type { Change } from "../../layer/types.js";

/** What to mount, as data. A snapshot says it; a sandbox does it. */
export type RootMount =
  | {
      readonly kind: "directory";
      readonly path: string;
      /** Where owners cannot be kept in files: hears whose the files are that the step makes. */
      readonly tellMaker?: (maker: Owner) => void;
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
