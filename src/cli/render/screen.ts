import type { Screen } from "./types.js";

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
  const draw = (text: string): string => text.slice(0, Math.max(0, (out.columns ?? 80) - 1));
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
