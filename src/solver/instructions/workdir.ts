import { lintWorkdir } from "../../dockerfile/index.js";
import type { SealedLayer } from "../../layer/types.js";
import type { Workdir } from "../../dockerfile/types.js";
import { planWorkdir } from "../copy/plan-copy.js";
import { createdNs, withConfigPatch } from "../state.js";
import type { Effect, StageState, Tools } from "../types.js";
import { resolveOwner } from "../user.js";
import { expand } from "../words.js";
import { timeFacts } from "./copy-inputs.js";
import { isAbsoluteWorkdir, joinWorkdir } from "../workdir-path.js";

const ROOT = { uid: 0, gid: 0 };

export function workdir(instruction: Workdir, state: StageState, tools: Tools): Effect {
  const written = expand(instruction.path, state, tools);
  const { os } = state.platform;
  if (!state.workdirSet && !isAbsoluteWorkdir(written, os)) {
    tools.warn(lintWorkdir(written, instruction, tools.plan.check));
  }
  const path = joinWorkdir(state.image.config.workingDir, written, os);
  const effect = {
    state: { ...withConfigPatch(state, { workingDir: path }), workdirSet: true },
    history: `WORKDIR ${path}`,
  };
  if (path === "/") return effect;
  const layer = async (): Promise<SealedLayer> => {
    const root = await tools.tree(state.image);
    const { user } = state.image.config;
    const owner = user === "" ? ROOT : resolveOwner(root, user);
    return tools.pack(
      planWorkdir(root, path, { owner, createdNs: createdNs(tools.options) }),
      state.image,
    );
  };
  const facts = [
    { name: "instruction", value: "WORKDIR" },
    { name: "directory", value: path },
    { name: "USER", value: state.image.config.user },
    ...timeFacts(tools.options),
  ];
  return { ...effect, inputs: () => Promise.resolve({ facts, contents: [] }), layer };
}
