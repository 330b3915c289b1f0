import type { FlagSpec } from "./flags.js";

/** How steps are run. */
export const DRIVER_FLAGS = [
  {
    name: "driver",
    type: "string",
    choices: [
      "auto",
      "overlay",
      "plain",
      "single-id-overlay",
      "single-id-plain",
      "in-place",
      "proot",
    ],
    group: "Environment",
    help: "how steps are isolated (default the best that works here)",
  },
  {
    name: "layer-mounts",
    type: "string",
    choices: ["auto", "off"],
    group: "Environment",
    help: "off: unpack base layers where they could be mounted as they are",
  },
  {
    name: "strict",
    type: "flag",
    group: "Environment",
    help: "refuse (exit code 69) to run steps where owners or device nodes would be lost",
  },
] as const satisfies readonly FlagSpec[];
