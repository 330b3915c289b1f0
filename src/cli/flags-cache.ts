import type { FlagSpec } from "./flags.js";

/** What is taken from earlier builds. */
export const CACHE_FLAGS = [
  {
    name: "cache",
    type: "flag",
    group: "Cache",
    help: "use layers of earlier builds: by default the store's, with --cache=true also --cache-repo's; --cache=false neither looks nor keeps",
  },
  {
    name: "cache-repo",
    type: "string",
    value: "REPO",
    group: "Cache",
    help: "where --cache=true looks and keeps: a repository, or oci:DIR (default: the first destination's, with /cache)",
  },
  {
    name: "cache-dir",
    type: "string",
    value: "DIR",
    group: "Cache",
    help: "base images that Kaniko's warmer has laid ready, for --cache=true (default /cache)",
  },
  {
    name: "cache-ttl",
    type: "string",
    value: "DURATION",
    group: "Cache",
    help: "layers of --cache-repo that are older are made anew (default 336h)",
  },
  {
    name: "cache-run-layers",
    type: "flag",
    group: "Cache",
    help: "layers of RUN and WORKDIR are in --cache-repo (default true)",
  },
  {
    name: "cache-copy-layers",
    type: "flag",
    group: "Cache",
    help: "layers of COPY and ADD are in --cache-repo too",
  },
  {
    name: "no-push-cache",
    type: "flag",
    group: "Cache",
    help: "look into --cache-repo, but put nothing there",
  },
  {
    name: "cache-from",
    type: "list",
    value: "type=TYPE,…",
    group: "Cache",
    help: "layers of an earlier build: type=registry,ref=REF (also REF alone; an image with an inline cache too) or type=local,src=DIR; may be repeated",
  },
  {
    name: "cache-to",
    type: "list",
    value: "type=TYPE,…",
    group: "Cache",
    help: "keeps layers for later builds: type=registry,ref=REF or type=local,dest=DIR, with mode=min|max; or type=inline; may be repeated",
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
    name: "cache-mounts",
    type: "string",
    value: "REF",
    group: "Cache",
    help: "keeps what RUN --mount=type=cache holds under this reference (or in oci:DIR), and begins new caches with it",
  },
  {
    name: "explain",
    type: "flag",
    group: "Cache",
    help: "say of each step that is made anew what has changed since the last build",
  },
] as const satisfies readonly FlagSpec[];
