import type { FlagSpec } from "./flags.js";

/** Kaniko's flags about the container that it runs in: see docs/decisions/in-place.md. */
export const IN_PLACE_FLAGS = [
  {
    name: "force",
    type: "flag",
    group: "Container",
    help: "build in / although nothing says that this is a container; never on a machine",
  },
  {
    name: "kaniko-dir",
    type: "string",
    value: "DIR",
    group: "Container",
    help: "where the build keeps its work, left alone in / (also KANIKO_DIR)",
  },
  {
    name: "ignore-path",
    type: "list",
    value: "PATH",
    group: "Container",
    help: "leaves what is there alone, and out of layers; may be a pattern and repeated. Mounts always are",
  },
  {
    name: "ignore-var-run",
    aliases: ["whitelist-var-run"],
    type: "flag",
    group: "Container",
    help: "the same for /var/run (default: only for what is mounted there)",
  },
  {
    name: "pre-cleanup",
    type: "flag",
    group: "Container",
    help: "the container's own files may be deleted (also KANIKO_PRE_CLEANUP)",
  },
  {
    name: "cleanup",
    type: "flag",
    group: "Container",
    help: "deletes the stage's files from / at the end (also KANIKO_CLEANUP)",
  },
  {
    name: "preserve-context",
    type: "flag",
    group: "Container",
    help: "with --cleanup: puts back what / held at first (also KANIKO_PRESERVE_CONTEXT)",
  },
  {
    name: "materialize",
    type: "flag",
    group: "Container",
    help: "leaves the image's files in / at the end",
  },
] as const satisfies readonly FlagSpec[];
