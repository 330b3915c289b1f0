import type { FlagSpec } from "./flags.js";

/** What is taken from earlier builds. */
export const CACHE_FLAGS = [
  {
    name: "cache",
    type: "flag",
    group: "Cache",
    help: "use layers of earlier builds; --cache=false neither looks nor keeps (default true)",
  },
  {
    name: "no-cache",
    type: "flag",
    group: "Cache",
    help: "run every step anew; what is made is kept for the next build",
  },
  {
    name: "no-cache-filter",
    type: "list",
    value: "STAGE[,STAGE]",
    group: "Cache",
    help: "the same for these stages alone",
  },
  {
    name: "explain",
    type: "flag",
    group: "Cache",
    help: "say of each step that is made anew what has changed since the last build",
  },
] as const satisfies readonly FlagSpec[];
