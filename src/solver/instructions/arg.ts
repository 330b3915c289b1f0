import type { Arg } from "../../dockerfile/types.js";
import { withVariable } from "../state.js";
import type { DeclaredArg, Effect, StageState, Tools } from "../types.js";
import { expand, NOT_IN_ENVIRONMENT } from "../words.js";

/**
 * `ARG name` takes the build arg, else the global value, else nothing; `ARG name=default` the build arg, else the
 * default expanded, which is not even looked at when a build arg is given. The name is taken as it is written.
 */
export function arg(instruction: Arg, state: StageState, tools: Tools): Effect {
  let next = state;
  const shown: string[] = [];
  for (const entry of instruction.entries) {
    const name = entry.name.text;
    const value =
      tools.options.buildArgs.get(name) ??
      (entry.value === undefined
        ? tools.plan.globalArgs.get(name)
        : expand(entry.value, next, tools));
    const declared: DeclaredArg = { name, value };
    next = {
      ...next,
      args: [...next.args, declared],
      env:
        value === undefined || NOT_IN_ENVIRONMENT.has(name)
          ? next.env
          : withVariable(next.env, name, value),
    };
    shown.push(value === undefined ? name : `${name}=${value}`);
  }
  return { state: next, history: `ARG ${shown.join(" ")}` };
}
