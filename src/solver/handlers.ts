import { add } from "./instructions/add.js";
import { arg } from "./instructions/arg.js";
import { copy } from "./instructions/copy.js";
import * as metadata from "./instructions/metadata.js";
import { run } from "./instructions/run.js";
import { workdir } from "./instructions/workdir.js";
import type { Effect, Handlers, StageInstruction, StageState, Tools } from "./types.js";

const HANDLERS: Handlers = {
  ADD: add,
  ARG: arg,
  CMD: metadata.cmd,
  COPY: copy,
  ENTRYPOINT: metadata.entrypoint,
  ENV: metadata.env,
  EXPOSE: metadata.expose,
  HEALTHCHECK: metadata.healthcheck,
  LABEL: metadata.label,
  MAINTAINER: metadata.maintainer,
  ONBUILD: metadata.onbuild,
  RUN: run,
  SHELL: metadata.shell,
  STOPSIGNAL: metadata.stopSignal,
  USER: metadata.user,
  VOLUME: metadata.volume,
  WORKDIR: workdir,
};

/** What the instruction does to the state. Layers are not made yet: see {@link Effect.layer}. */
export async function effectOf(
  instruction: StageInstruction,
  state: StageState,
  tools: Tools,
): Promise<Effect> {
  // The table's type ties each handler to its kind; TypeScript cannot follow that through the index.
  const handler = HANDLERS[instruction.kind] as (
    instruction: StageInstruction,
    state: StageState,
    tools: Tools,
  ) => Promise<Effect> | Effect;
  return handler(instruction, state, tools);
}
