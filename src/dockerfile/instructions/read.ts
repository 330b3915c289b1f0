import { fail, type Problems } from "../diagnostic.js";
import { spanOf } from "../fragment.js";
import type { Statement } from "../statement.js";
import { closest } from "../suggest.js";
import type { Instruction } from "../types.js";
import { readCmd, readEntrypoint, readHealthcheck, readShell } from "./command.js";
import { readAdd, readCopy } from "./copy.js";
import { readFrom } from "./from.js";
import { readRun } from "./run.js";
import {
  readExpose,
  readMaintainer,
  readStopSignal,
  readUser,
  readVolume,
  readWorkdir,
} from "./simple.js";
import { readArg, readEnv, readLabel } from "./variables.js";

/** Every instruction but ONBUILD, which holds another one. */
const READERS: Readonly<
  Record<
    Exclude<Instruction["kind"], "ONBUILD">,
    (statement: Statement, problems: Problems) => Instruction
  >
> = {
  ADD: readAdd,
  ARG: readArg,
  CMD: readCmd,
  COPY: readCopy,
  ENTRYPOINT: readEntrypoint,
  ENV: readEnv,
  EXPOSE: readExpose,
  FROM: readFrom,
  HEALTHCHECK: readHealthcheck,
  LABEL: readLabel,
  MAINTAINER: readMaintainer,
  RUN: readRun,
  SHELL: readShell,
  STOPSIGNAL: readStopSignal,
  USER: readUser,
  VOLUME: readVolume,
  WORKDIR: readWorkdir,
};
const NAMES: readonly string[] = [...Object.keys(READERS), "ONBUILD"];

/** The instruction that a name stands for: itself in upper case, or the one it was probably meant to be. */
export function nearestKeyword(name: string): string | undefined {
  const upper = name.toUpperCase();
  return NAMES.includes(upper) ? upper : closest(upper, NAMES);
}

function isKnown(name: string): name is keyof typeof READERS {
  return Object.hasOwn(READERS, name);
}

/**
 * Reads one instruction. What is wrong with it is reported, or thrown where reading cannot go on.
 * @throws Fault
 */
export function readInstruction(statement: Statement, problems: Problems): Instruction {
  const name = statement.keyword.text;
  const upper = name.toUpperCase();
  if (isKnown(upper)) return READERS[upper](statement, problems);
  const match = nearestKeyword(name);
  const cased = match !== undefined && name === name.toLowerCase() ? match.toLowerCase() : match;
  const tail = cased === undefined ? "" : ` (did you mean ${cased}?)`;
  fail("unknown-instruction", `unknown instruction: ${name}${tail}`, spanOf(statement.keyword));
}
