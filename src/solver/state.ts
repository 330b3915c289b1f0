import type { Image, ImageConfig, Layer, Platform } from "../oci/types.js";
import { baseChain } from "./cache/key.js";
import type { Chain } from "./cache/types.js";
import type { Effect, SolveOptions, StageState } from "./types.js";
import { joinWorkdir } from "./workdir-path.js";

/** What Docker gives to an image that has no PATH. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const HISTORY_COMMENT = "buildkit.dockerfile.v0";

export function splitPair(pair: string): readonly [name: string, value: string] {
  const equals = pair.indexOf("=");
  return equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
}

/** Docker's rule for ENV in the config: in place where the name is known, else at the end. */
export function withEnv(env: readonly string[], name: string, value: string): readonly string[] {
  const at = env.findIndex((pair) => splitPair(pair)[0] === name);
  return at < 0 ? [...env, `${name}=${value}`] : env.with(at, `${name}=${value}`);
}

/** For steps, a variable stands where it was last set: BuildKit's order, which programs see. */
export function withVariable(
  env: ReadonlyMap<string, string>,
  name: string,
  value: string,
): ReadonlyMap<string, string> {
  const variables = new Map(env);
  variables.delete(name);
  return variables.set(name, value);
}

/** The state in which a stage's first instruction finds itself. ONBUILD triggers are taken out: they were for this stage. */
export function initialState(
  base: Image,
  platform: Platform,
  inherited: Pick<StageState, "env" | "args" | "workdirSet" | "chain"> | undefined,
): StageState {
  const hasPath = base.config.env.some((pair) => splitPair(pair)[0] === "PATH");
  const keepsEnv = hasPath || platform.os === "windows";
  const env = keepsEnv ? base.config.env : [...base.config.env, `PATH=${DEFAULT_PATH}`];
  let variables: ReadonlyMap<string, string> = inherited?.env ?? new Map();
  for (const pair of env) variables = withVariable(variables, ...splitPair(pair));
  const { workingDir: left } = base.config;
  const workingDir = left === "" ? "" : joinWorkdir(left, left, platform.os);
  return {
    image: { ...base, config: { ...base.config, env, workingDir, onBuild: [] } },
    platform,
    env: variables,
    args: inherited?.args ?? [],
    cmdSet: false,
    workdirSet: inherited?.workdirSet ?? false,
    chain: inherited?.chain ?? baseChain(base),
  };
}

export function withConfigPatch(state: StageState, patch: Partial<ImageConfig>): StageState {
  return { ...state, image: { ...state.image, config: { ...state.image.config, ...patch } } };
}

/** A layer with what is known of how it came to be. */
export interface MadeLayer {
  readonly layer: Layer;
  /** RFC 3339. */
  readonly created: string;
  /** The stage's with this layer. */
  readonly chain: Chain;
}

/** The state after an instruction: its effect, its layer and its line of history. */
export function advance(effect: Effect, made: MadeLayer | undefined): StageState {
  const { state } = effect;
  const { image } = state;
  const layers = made === undefined ? image.layers : [...image.layers, made.layer];
  const chain = made === undefined ? state.chain : made.chain;
  if (effect.history === undefined) return { ...state, chain, image: { ...image, layers } };
  const entry = {
    // Of a step that makes no layer it is known at the end: see `finished`.
    ...(made === undefined ? {} : { created: made.created }),
    createdBy: effect.history,
    comment: HISTORY_COMMENT,
    emptyLayer: made === undefined,
  };
  return { ...state, chain, image: { ...image, layers, history: [...image.history, entry] } };
}

/** `SOURCE_DATE_EPOCH` in RFC 3339, when there is one. */
export function createdAt({ sourceDateEpoch }: SolveOptions): string | undefined {
  if (sourceDateEpoch === undefined) return undefined;
  // As Go prints it: no fraction where there is none.
  return new Date(sourceDateEpoch * 1000).toISOString().replace(".000Z", "Z");
}

/** When what the build makes is said to have been made. Nanoseconds since the epoch. */
export function createdNs({ sourceDateEpoch }: SolveOptions): bigint {
  const ms = sourceDateEpoch === undefined ? BigInt(Date.now()) : BigInt(sourceDateEpoch) * 1000n;
  return ms * 1_000_000n;
}
