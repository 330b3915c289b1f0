import { execFile, spawn } from "node:child_process";
import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { once } from "node:events";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Cleanup } from "../../src/build/cleanup.js";
import { answerRequest } from "../../src/build/ssh/agent.js";
import { parsePrivateKey, readPrivateKey } from "../../src/build/ssh/private-key.js";
import { agentSource, readAgents } from "../../src/build/ssh/sources.js";
import { WireReader, wireMpint, wireString, wireUint32 } from "../../src/build/ssh/wire.js";
import { TsbuildError } from "../../src/errors.js";
import { tempDir, type TempDir } from "../support/tools.js";

const run = promisify(execFile);
let dir: TempDir;
beforeAll(async () => {
  dir = await tempDir("tsbuild-ssh-");
});
afterAll(() => dir[Symbol.asyncDispose]());

const at = (name: string): string => join(dir.path, name);

/** What ssh-keygen makes, by the way that it is asked. */
const KINDS: Readonly<Record<string, readonly string[]>> = {
  "rsa, OpenSSH": ["-t", "rsa", "-b", "2048"],
  "rsa, PKCS#1": ["-t", "rsa", "-b", "2048", "-m", "PEM"],
  "rsa, PKCS#8": ["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
  "ecdsa 256, OpenSSH": ["-t", "ecdsa", "-b", "256"],
  "ecdsa 384, OpenSSH": ["-t", "ecdsa", "-b", "384"],
  "ecdsa 521, OpenSSH": ["-t", "ecdsa", "-b", "521"],
  "ecdsa 256, SEC1": ["-t", "ecdsa", "-b", "256", "-m", "PEM"],
  "ecdsa 521, PKCS#8": ["-t", "ecdsa", "-b", "521", "-m", "PKCS8"],
  "ed25519, OpenSSH": ["-t", "ed25519"],
};

async function keygen(name: string, args: readonly string[], passphrase = ""): Promise<string> {
  const path = at(name.replaceAll(/[^a-z0-9]/gi, "-"));
  await run("ssh-keygen", ["-q", "-N", passphrase, "-C", "me@laptop", "-f", path, ...args]);
  return path;
}

/** Agents for these ids, as a build starts them. */
async function agents(
  given: Parameters<typeof readAgents>[0]["sshAgents"],
  cleanup: Cleanup,
): Promise<(id: string) => Promise<string>> {
  const backends = await readAgents(given === undefined ? {} : { sshAgents: given });
  let number = 0;
  const unique = Math.random().toString(36).slice(2);
  // Longer than a socket's address may be.
  const stagingPath = (suffix: string): string =>
    at(`${"long".repeat(30)}-${unique}-${number++}${suffix}`);
  const source = agentSource(backends, { stagingPath }, cleanup);
  return async (id) => (await source(id)) ?? expect.fail(`no agent ${id}`);
}

/** What OpenSSH's programs say to an agent; a socket with a long name is reached through a link. */
async function ask(socket: string, program: string, args: readonly string[], input = "") {
  const link = at(`s${Math.random().toString(36).slice(2)}`);
  await run("ln", ["-s", socket, link]);
  const child = spawn(program, args, { env: { PATH: process.env["PATH"], SSH_AUTH_SOCK: link } });
  child.stdin.end(input);
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => output.push(data));
  const [code] = await once(child, "close");
  return { code: Number(code), text: Buffer.concat(output).toString() };
}

describe("private keys", () => {
  test.each(Object.entries(KINDS))(
    "%s: OpenSSH accepts our agent's signatures",
    async (name, args) => {
      const path = await keygen(name, args);
      await using cleanup = new Cleanup();
      const socket = await (await agents({ default: [path] }, cleanup))("default");
      const publicKey = (await readFile(`${path}.pub`, "utf8")).split(" ").slice(0, 2).join(" ");
      const listed = await ask(socket, "ssh-add", ["-L"]);
      expect(listed.code, listed.text).toBe(0);
      expect(listed.text.trim()).toBe(publicKey);
      // -T has the agent sign, and verifies it with the public key.
      const tested = await ask(socket, "ssh-add", ["-T", `${path}.pub`]);
      expect(tested, tested.text).toMatchObject({ code: 0 });
      await chmod(path, 0o000);
      await run("mv", [path, `${path}.away`]);
      const signed = await ask(
        socket,
        "ssh-keygen",
        ["-Y", "sign", "-n", "x", "-f", `${path}.pub`],
        "m",
      );
      expect(signed.text).toContain("BEGIN SSH SIGNATURE");
      await writeFile(`${path}.sig`, signed.text.slice(signed.text.indexOf("-----BEGIN")));
      const checked = await ask(
        socket,
        "ssh-keygen",
        ["-Y", "check-novalidate", "-n", "x", "-s", `${path}.sig`],
        "m",
      );
      expect(checked, checked.text).toMatchObject({ code: 0 });
    },
  );

  test("an RSA key signs with the hash that the flags ask for, and with no other", () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const key = parsePrivateKey(privateKey.export({ type: "pkcs8", format: "pem" }) as string);
    const data = Buffer.from("to be signed");
    for (const [flags, name, hash] of [
      [0, "ssh-rsa", "sha1"],
      [2, "rsa-sha2-256", "sha256"],
      [4, "rsa-sha2-512", "sha512"],
    ] as const) {
      const reader = new WireReader(key.sign(data, flags) ?? Buffer.alloc(0));
      expect(reader.string().toString()).toBe(name);
      expect(verify(hash, data, publicKey, reader.string()), name).toBe(true);
    }
    expect(key.sign(data, 8)).toBeUndefined();
    expect(key.sign(data, 6)).toBeUndefined();
  });

  test("a key in PKCS#8 signs as ed25519 does", () => {
    const { privateKey } = generateKeyPairSync("ed25519");
    const key = parsePrivateKey(privateKey.export({ type: "pkcs8", format: "pem" }) as string);
    const data = Buffer.from("to be signed");
    const reader = new WireReader(key.sign(data, 0) ?? Buffer.alloc(0));
    expect(reader.string().toString()).toBe("ssh-ed25519");
    expect(verify(null, data, createPublicKey(privateKey), reader.string())).toBe(true);
    expect(key.sign(data, 2)).toBeUndefined();
  });

  test.each([
    ["OpenSSH", ["-t", "ed25519"]],
    ["PEM", ["-t", "rsa", "-b", "2048", "-m", "PEM"]],
    ["PKCS8", ["-t", "ecdsa", "-m", "PKCS8"]],
  ])("one with a passphrase is refused, and says how to give it (%s)", async (format, args) => {
    const path = await keygen(`locked-${format}`, args, "correct horse");
    const error = await readPrivateKey(path).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(TsbuildError);
    expect(error).toMatchObject({
      code: "CONTEXT_UNREADABLE",
      message: `tried to read the ssh key ${path}: this private key is passphrase protected`,
      hint: expect.stringContaining("ssh-add"),
    });
  });

  test("what is no key is refused without a word of what is in it", async () => {
    const good = await readFile(await keygen("whole", ["-t", "ed25519"]), "utf8");
    const lines = good.split("\n");
    const cut = [lines[0], lines[1]?.slice(0, 40), ...lines.slice(-2)].join("\n");
    const spoilt = [lines[0], `${lines[1]?.slice(0, -8)}????????`, ...lines.slice(2)].join("\n");
    const pem =
      "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHNlY3JldCBzZWNyZXQ=\n-----END PRIVATE KEY-----\n";
    const { privateKey } = generateKeyPairSync("x25519");
    const other = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const { privateKey: k1 } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
    const koblitz = k1.export({ type: "sec1", format: "pem" }) as string;
    for (const text of [cut, spoilt, pem, other, koblitz, "", "s3cret text", `${lines[0]}\n`]) {
      await writeFile(at("bad"), text);
      const error = await readPrivateKey(at("bad")).catch((caught: unknown) => caught);
      expect(error, text).toBeInstanceOf(TsbuildError);
      const shown = JSON.stringify([String(error), (error as TsbuildError).cause]);
      expect(shown).toMatch(/damaged|not a private key|cannot be used/);
      expect(shown).not.toContain("s3cret");
      for (const line of text.split("\n").filter((each) => /^[\w+/=]{20,}/.test(each))) {
        expect(shown).not.toContain(line.slice(0, 20));
      }
    }
    await expect(readPrivateKey(at("absent"))).rejects.toThrow(/absent: ENOENT/);
  });
});

describe("the agent", () => {
  const { privateKey } = generateKeyPairSync("ed25519");
  const key = parsePrivateKey(privateKey.export({ type: "pkcs8", format: "pem" }) as string);

  test("refuses what it does not understand", () => {
    const sign = (blob: Uint8Array, flags: number): Buffer =>
      Buffer.concat([Buffer.from([13]), wireString(blob), wireString("data"), wireUint32(flags)]);
    const refused = [
      Buffer.alloc(0),
      Buffer.from([13]),
      Buffer.from([13, 255, 255, 255, 255]),
      sign(Buffer.from("another key"), 0),
      sign(key.publicKey, 2),
      Buffer.from([17]),
      Buffer.from([19]),
      Buffer.from([27, 0, 0, 0, 1, 65]),
    ];
    for (const request of refused) expect([...answerRequest(request, [key])]).toEqual([5]);
    expect(answerRequest(sign(key.publicKey, 0), [key])[0]).toBe(14);
  });

  test("several keys are one agent, and none of their comments is told", async () => {
    const paths = await Promise.all([
      keygen("first", ["-t", "ed25519"]),
      keygen("second", ["-t", "ecdsa"]),
    ]);
    await using cleanup = new Cleanup();
    const socket = await (await agents({ default: paths }, cleanup))("default");
    const { text } = await ask(socket, "ssh-add", ["-l"]);
    expect(text.trim().split("\n")).toHaveLength(2);
    expect(text).not.toContain("laptop");
    const removed = await ask(socket, "ssh-add", ["-D"]);
    expect(removed.code).not.toBe(0);
    expect((await ask(socket, "ssh-add", [paths[0] ?? ""])).code).not.toBe(0);
    expect((await ask(socket, "ssh-add", ["-l"])).text).toBe(text);
  });

  test("ends a connection that says too much, and stays for others", async () => {
    const path = await keygen("long", ["-t", "ed25519"]);
    await using cleanup = new Cleanup();
    const socket = await (await agents({ default: [path] }, cleanup))("default");
    const link = at("too-long");
    await run("ln", ["-s", socket, link]);
    const connection = connect(link);
    connection.resume();
    connection.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 11]));
    await once(connection, "close");
    // One byte after the other.
    const slow = connect(link);
    slow.setNoDelay();
    for (const byte of [0, 0, 0, 1, 11]) {
      slow.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const [answer] = (await once(slow, "data")) as [Buffer];
    expect(answer[4]).toBe(12);
    slow.destroy();
  });

  test("its socket is this user's, and is gone with the build", async () => {
    const path = await keygen("gone", ["-t", "ed25519"]);
    const cleanup = new Cleanup();
    const source = await agents({ default: [path] }, cleanup);
    const [socket, again] = await Promise.all([source("default"), source("default")]);
    expect(again).toBe(socket);
    expect((await run("stat", ["-c", "%a %F", socket])).stdout.trim()).toBe("600 socket");
    await cleanup[Symbol.asyncDispose]();
    await expect(run("stat", [socket])).rejects.toThrow();
  });
});

describe("another agent", () => {
  test("lists and signs for a step, which can neither add nor remove", async () => {
    const path = await keygen("behind", ["-t", "ed25519"]);
    const real = at("real-agent");
    const child = spawn("ssh-agent", ["-D", "-a", real], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      await once(child.stdout, "data");
      await run("ssh-add", ["-q", path], { env: { ...process.env, SSH_AUTH_SOCK: real } });
      await using cleanup = new Cleanup();
      const source = await agents({ default: real, open: { raw: real } }, cleanup);
      const socket = await source("default");
      expect((await ask(socket, "ssh-add", ["-l"])).text).toContain("ED25519");
      expect((await ask(socket, "ssh-add", ["-T", `${path}.pub`])).code).toBe(0);
      expect((await ask(socket, "ssh-add", ["-D"])).code).not.toBe(0);
      expect((await ask(socket, "ssh-add", ["-l"])).text).toContain("ED25519");
      // Raw is the socket itself, with all that it allows.
      expect(await source("open")).toBe(real);
    } finally {
      child.kill();
      await once(child, "exit");
    }
  });

  test("what fits together in no agent is refused before the build", async () => {
    const path = await keygen("mixed", ["-t", "ed25519"]);
    const real = at("mixed-agent");
    const child = spawn("ssh-agent", ["-D", "-a", real], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      await once(child.stdout, "data");
      const wrong = async (given: Parameters<typeof readAgents>[0]["sshAgents"]) =>
        readAgents({ sshAgents: given ?? {} });
      await expect(wrong({ a: [path, real] })).rejects.toThrow(/cannot be mixed/);
      await expect(wrong({ a: [real, real] })).rejects.toThrow(/only one socket/);
      await expect(wrong({ a: { raw: path } })).rejects.toThrow(/raw is for sockets only/);
      await expect(wrong({ a: [] })).rejects.toThrow(/no agent and no key/);
      await expect(wrong({ a: at("nothing") })).rejects.toThrow(/ssh a: ENOENT/);
    } finally {
      child.kill();
      await once(child, "exit");
    }
  });
});

test("numbers have no leading zeros, and one before a high bit", () => {
  expect(wireMpint(Buffer.from([0, 0, 1])).toString("hex")).toBe("0000000101");
  expect(wireMpint(Buffer.from([0, 0x80])).toString("hex")).toBe("000000020080");
  expect(wireMpint(Buffer.alloc(3)).toString("hex")).toBe("00000000");
});
