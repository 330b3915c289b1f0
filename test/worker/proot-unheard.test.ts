/** The proot driver on a kernel that hands no system calls on: this process, and with it its children, may ask for none. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadLibc } from "../../src/worker/linux/libc.js";
import { confine } from "../../src/worker/linux/notify.js";
import { lacksTools } from "../support/tools.js";
import { describeUnless } from "../support/tools-suite.js";
import { type Lab, openLab } from "./sandbox-stage.js";

/** seccomp(2), whose flags ask for the listener. */
const SECCOMP = process.arch === "x64" ? 317 : 277;
const EINVAL = 22;

/** `struct sock_filter`: load the call's number; if it is seccomp's, EINVAL, as from a kernel before 5.0; else go on. */
const FILTER = Buffer.concat(
  [
    [0x20, 0, 0, 0],
    [0x15, 0, 1, SECCOMP],
    [0x06, 0, 0, 0x00050000 | EINVAL],
    [0x06, 0, 0, 0x7fff0000],
  ].map(([code = 0, yes = 0, no = 0, value = 0]) => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16LE(code, 0);
    bytes.writeUInt8(yes, 2);
    bytes.writeUInt8(no, 3);
    bytes.writeUInt32LE(value, 4);
    return bytes;
  }),
);

describeUnless([lacksTools("proot", "busybox")], "the proot driver that hears of no calls", () => {
  let lab: Lab;
  beforeAll(async () => {
    confine(loadLibc(), FILTER);
    lab = await openLab("proot");
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("runs a step all the same, and says what is lost", async () => {
    const stage = await lab.stage([{ name: "owned", type: "file", uid: 5, gid: 6, data: "x" }]);
    expect(await stage.sh("echo x >/mine; id -u; echo y >>/owned")).toBe("0\n");
    expect(await lab.worker.takeWarnings?.()).toEqual([
      expect.stringMatching(
        /^this kernel hands no system calls on .* belongs to its own, and device nodes and file capabilities that it makes are lost$/,
      ),
    ]);
    const entries = (await stage.seal()).map(({ name, uid, gid }) => [name, uid, gid]);
    expect(entries).toEqual([["mine", 0, 0], ["owned", 5, 6]]); // prettier-ignore
  });
});
