/** One instruction's handler, tried on a state that a test makes, with tools that do nothing but remember. */
import { planStages, type Diagnostic } from "../../src/dockerfile/index.js";
import { parse } from "../dockerfile/support.js";
import { scratchImage } from "../../src/oci/image.js";
import { stepOptions } from "../../src/build/step-options.js";
import type { ImageConfig, Platform } from "../../src/oci/types.js";
import { effectOf } from "../../src/solver/handlers.js";
import { advance, initialState } from "../../src/solver/state.js";
import type { SolveOptions, StageInstruction, StageState, Tools } from "../../src/solver/types.js";

export const PLATFORM: Platform = { os: "linux", architecture: "amd64" };

export function stateOf(config: Partial<ImageConfig> = {}, platform = PLATFORM): StageState {
  const image = scratchImage(platform);
  return initialState({ ...image, config: { ...image.config, ...config } }, platform, undefined);
}

export interface Fake {
  readonly tools: Tools;
  readonly warned: Diagnostic[];
  readonly notices: string[];
}

const absent = (): never => {
  throw new Error("the handler was not to ask for this");
};

export function optionsOf(options: Partial<SolveOptions> = {}): SolveOptions {
  return {
    buildArgs: new Map(),
    buildPlatform: PLATFORM,
    targetPlatform: PLATFORM,
    platformRequested: false,
    labels: new Map(),
    compression: "gzip",
    rewriteTimestamp: false,
    hosts: "",
    resolvConf: "",
    step: stepOptions({ context: "." }),
    ...options,
  };
}

/** Tools for the instruction; what a test needs besides is given as `more`. */
export function fakeTools(
  at: StageInstruction,
  options: Partial<SolveOptions> = {},
  more: Partial<Tools> = {},
): Fake {
  const warned: Diagnostic[] = [];
  const notices: string[] = [];
  const solving = optionsOf(options);
  const plan = planStages(parse(at.span.file.text), {
    buildArgs: solving.buildArgs,
    buildPlatform: PLATFORM,
    targetPlatform: PLATFORM,
  });
  const tools = {
    signal: new AbortController().signal,
    options: solving,
    plan,
    escape: "\\",
    at,
    warn: (found: readonly Diagnostic[]) => warned.push(...found),
    notice: (message: string) => notices.push(message),
    context: absent,
    source: absent,
    tree: absent,
    contents: absent,
    pack: absent,
    run: absent,
    remote: { file: absent, parseGit: () => undefined, git: absent },
    secret: absent,
    agent: async () => undefined,
    contextImage: absent,
    blobs: absent,
    temporaryFile: absent,
    ...more,
  } as Tools;
  return { tools, warned, notices };
}

/** The instructions of a Dockerfile's last stage. */
export function instructionsOf(
  lines: readonly string[],
  head = "FROM scratch",
): readonly StageInstruction[] {
  return parse([head, ...lines].join("\n")).stages.at(-1)?.instructions ?? [];
}

/** The state after all lines, none of which makes a layer, and what was warned of. */
export async function after(
  lines: readonly string[],
  {
    state = stateOf(),
    options = {},
    head,
  }: {
    readonly state?: StageState;
    readonly options?: Partial<SolveOptions>;
    readonly head?: string;
  } = {},
): Promise<{
  readonly state: StageState;
  readonly warned: readonly Diagnostic[];
  readonly history: readonly (string | undefined)[];
}> {
  let now = state;
  const warned: Diagnostic[] = [];
  for (const instruction of instructionsOf(lines, head)) {
    const fake = fakeTools(instruction, options);
    now = advance(await effectOf(instruction, now, fake.tools), undefined);
    warned.push(...fake.warned);
  }
  return { state: now, warned, history: now.image.history.map(({ createdBy }) => createdBy) };
}
