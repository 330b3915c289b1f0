import { fail, raising, wholeText } from "../diagnostic.js";
import { closest } from "../suggest.js";
import type { Span } from "../types.js";

/** Linux' names without SIG, as STOPSIGNAL takes them. */
const PLAIN =
  "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP " +
  "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
const NAMES: ReadonlySet<string> = new Set(
  PLAIN.split(" ").concat(
    Array.from({ length: 15 }, (_, index) => `RTMIN+${index + 1}`),
    Array.from({ length: 14 }, (_, index) => `RTMAX-${index + 1}`),
  ),
);

/**
 * Checks a stop signal: a name with or without SIG, in any case, or a number that is not 0. The config holds it as written.
 * @throws DockerfileError at `span`
 */
export function parseStopSignal(text: string, span: Span = wholeText(text, "STOPSIGNAL")): string {
  if (/^[-+]?[0-9]+$/.test(text) ? Number(text) !== 0 : NAMES.has(bareName(text))) return text;
  const match = closest(bareName(text), NAMES);
  const hint =
    match === undefined ? "a name such as SIGTERM, or a number" : `did you mean SIG${match}?`;
  return raising(() => fail("signal", `invalid signal: ${text}`, span, hint));
}

function bareName(text: string): string {
  return text.toUpperCase().replace(/^SIG/, "");
}
