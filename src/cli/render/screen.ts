import type { Screen } from "./types.js";

const DEFAULT_WIDTH = 80;

/** A log: the status line is not shown. */
export function logScreen(out: NodeJS.WritableStream): Screen {
  return {
    line: (text) => {
      out.write(`${text}\n`);
    },
    status: () => undefined,
  };
}

/** A terminal: the status line stands below everything else and is cut to the width. */
export function terminalScreen(out: NodeJS.WriteStream): Screen {
  let shown = "";
  const clear = "\r\x1b[K";
  // Some terminals say that they have no columns at all.
  const width = (): number => (out.columns > 0 ? out.columns : DEFAULT_WIDTH) - 1;
  const draw = (text: string): string => text.slice(0, width());
  return {
    line: (text) => {
      out.write(shown === "" ? `${text}\n` : `${clear}${text}\n${draw(shown)}`);
    },
    status: (text) => {
      if (text === shown) return;
      out.write(`${clear}${draw(text)}`);
      shown = text;
    },
  };
}

/** Each line begins with the time, in RFC 3339. */
export function timedScreen(screen: Screen, now: () => Date = () => new Date()): Screen {
  return {
    line: (text) => screen.line(text.replace(/^/gm, `${now().toISOString()} `)),
    status: (text) => screen.status(text),
  };
}
