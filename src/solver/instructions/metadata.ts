import {
  DockerfileError,
  type Span,
  type Word,
  lintPort,
  lintShellForm,
  parsePorts,
  parseStopSignal,
} from "../../dockerfile/index.js";
import type {
  Cmd,
  Command,
  Entrypoint,
  Env,
  Expose,
  HealthcheckInstruction,
  Label,
  Maintainer,
  Onbuild,
  Shell,
  StopSignal,
  User,
  Volume,
} from "../../dockerfile/types.js";
import type { Healthcheck, ImageConfig } from "../../oci/types.js";
import { goDuration, goQuoteList } from "../go-format.js";
import { withConfigPatch, withEnv, withVariable } from "../state.js";
import type { Effect, StageState, Tools } from "../types.js";
import { expand, expandAll } from "../words.js";

/** Instructions that change the configuration alone. The history texts are BuildKit's. */
const DEFAULT_SHELL: readonly string[] = ["/bin/sh", "-c"];
const WINDOWS_SHELL: readonly string[] = ["cmd", "/S", "/C"];

export function shellOf(config: ImageConfig): readonly string[] {
  if (config.shell !== undefined && config.shell.length > 0) return config.shell;
  return config.platform.os === "windows" ? WINDOWS_SHELL : DEFAULT_SHELL;
}

/** What a shell form becomes in the config: the shell and one string. */
export function argvOf(command: Command, config: ImageConfig): readonly string[] {
  return command.form === "exec" ? command.argv : [...shellOf(config), command.text];
}

export function env(instruction: Env, state: StageState, tools: Tools): Effect {
  // Every value is expanded with the variables from before the instruction.
  const pairs = expandPairs(instruction.entries, state, tools);
  let list = state.image.config.env;
  let variables = state.env;
  for (const [name, value] of pairs) {
    list = withEnv(list, name, value);
    variables = withVariable(variables, name, value);
  }
  return {
    state: { ...withConfigPatch(state, { env: list }), env: variables },
    history: `ENV ${pairs.map(([name, value]) => `${name}=${value}`).join(" ")}`,
  };
}

export function label(instruction: Label, state: StageState, tools: Tools): Effect {
  const pairs = expandPairs(instruction.entries, state, tools);
  const labels = { ...state.image.config.labels, ...Object.fromEntries(pairs) };
  return {
    state: withConfigPatch(state, { labels }),
    history: `LABEL ${pairs.map(([name, value]) => `${name}=${value}`).join(" ")}`,
  };
}

function expandPairs(
  entries: readonly { readonly name: Word; readonly value: Word }[],
  state: StageState,
  tools: Tools,
): readonly (readonly [string, string])[] {
  return entries.map(({ name, value }) => [
    expand(name, state, tools),
    expand(value, state, tools),
  ]);
}

export function cmd(instruction: Cmd, state: StageState, tools: Tools): Effect {
  warnShellForm(instruction, state, tools);
  const argv = argvOf(instruction.command, state.image.config);
  return {
    state: { ...withConfigPatch(state, { cmd: argv, argsEscaped: true }), cmdSet: true },
    history: `CMD ${goQuoteList(argv)}`,
  };
}

export function entrypoint(instruction: Entrypoint, state: StageState, tools: Tools): Effect {
  warnShellForm(instruction, state, tools);
  const argv = argvOf(instruction.command, state.image.config);
  const { cmd: inherited, ...rest } = state.image.config;
  // A CMD that came with the base belonged to the base's entrypoint.
  const config = state.cmdSet && inherited !== undefined ? { ...rest, cmd: inherited } : rest;
  return {
    state: { ...state, image: { ...state.image, config: { ...config, entrypoint: argv } } },
    history: `ENTRYPOINT ${goQuoteList(argv)}`,
  };
}

/** A SHELL, of this stage or of what it starts from, says that a shell is meant. */
function warnShellForm(instruction: Cmd | Entrypoint, state: StageState, tools: Tools): void {
  if ((state.image.config.shell ?? []).length > 0) return;
  tools.warn(lintShellForm(instruction, tools.plan.check));
}

export function shell(instruction: Shell, state: StageState): Effect {
  return {
    state: withConfigPatch(state, { shell: instruction.argv }),
    history: `SHELL [${instruction.argv.join(" ")}]`,
  };
}

export function user(instruction: User, state: StageState, tools: Tools): Effect {
  const name = expand(instruction.user, state, tools);
  return { state: withConfigPatch(state, { user: name }), history: `USER ${name}` };
}

export function expose(instruction: Expose, state: StageState, tools: Tools): Effect {
  const words = expandAll(instruction.ports, state, tools);
  for (const word of words) tools.warn(lintPort(word, instruction, tools.plan.check));
  const ports = parsePorts(words, instruction.span);
  const exposedPorts = [...new Set([...state.image.config.exposedPorts, ...ports])];
  return {
    state: withConfigPatch(state, { exposedPorts }),
    history: `EXPOSE [${ports.join(" ")}]`,
  };
}

export function volume(instruction: Volume, state: StageState, tools: Tools): Effect {
  const paths = instruction.paths.map((word) => {
    const path = expand(word, state, tools);
    if (path === "") refuseVolume(word.span);
    return path;
  });
  const volumes = [...new Set([...state.image.config.volumes, ...paths])];
  return { state: withConfigPatch(state, { volumes }), history: `VOLUME [${paths.join(" ")}]` };
}

function refuseVolume(span: Span): never {
  const message = "VOLUME specified can not be an empty string";
  const hint = "a variable in it has no value";
  throw new DockerfileError([{ severity: "error", code: "arguments", message, hint, span }]);
}

export function stopSignal(instruction: StopSignal, state: StageState, tools: Tools): Effect {
  const signal = expand(instruction.signal, state, tools);
  parseStopSignal(signal, instruction.signal.span);
  return { state: withConfigPatch(state, { stopSignal: signal }), history: `STOPSIGNAL ${signal}` };
}

export function healthcheck(instruction: HealthcheckInstruction, state: StageState): Effect {
  const { test, interval, timeout, startPeriod, startInterval, retries } = instruction;
  const healthcheck: Healthcheck = {
    test,
    ...(interval === undefined ? {} : { interval }),
    ...(timeout === undefined ? {} : { timeout }),
    ...(startPeriod === undefined ? {} : { startPeriod }),
    ...(startInterval === undefined ? {} : { startInterval }),
    ...(retries === undefined ? {} : { retries }),
  };
  const shown = [
    `Test:[${test.join(" ")}]`,
    `Interval:${goDuration(interval ?? 0)}`,
    `Timeout:${goDuration(timeout ?? 0)}`,
    `StartPeriod:${goDuration(startPeriod ?? 0)}`,
    `StartInterval:${goDuration(startInterval ?? 0)}`,
    `Retries:${retries ?? 0}`,
  ];
  return {
    state: withConfigPatch(state, { healthcheck }),
    history: `HEALTHCHECK {${shown.join(" ")}}`,
  };
}

export function onbuild(instruction: Onbuild, state: StageState): Effect {
  const onBuild = [...state.image.config.onBuild, instruction.trigger];
  return { state: withConfigPatch(state, { onBuild }) };
}

export function maintainer(instruction: Maintainer, state: StageState): Effect {
  return {
    state: withConfigPatch(state, { author: instruction.name }),
    history: `MAINTAINER ${instruction.name}`,
  };
}
