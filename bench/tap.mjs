// A way to the registry on which bytes and connections are counted; the work is done by tap.py, inside the kernel.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Starts it. `counts()` answers what passed so far: `connections`, and bytes `up` and `down`. */
export async function startTap(python, script, { host }) {
  const child = spawn(python, [script, host.split(":").at(-1)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.stdin.on("error", () => {}); // it has ended, which its output says too
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the counting proxy ended");
    return value;
  };
  return {
    host: `127.0.0.1:${await next()}`,
    async counts() {
      child.stdin.write("\n");
      return JSON.parse(await next());
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await ended;
    },
  };
}
