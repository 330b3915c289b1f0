import { hideProcess } from "./linux/dumpable.js";
import { loadLibc } from "./linux/libc.js";

/** Keeps what runs as the same user from looking into this process. Loads the system calls: imported when needed. */
export function hideThisProcess(): void {
  hideProcess(loadLibc());
}
