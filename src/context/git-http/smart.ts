import { spawn } from "node:child_process";
import { ByteReader } from "./byte-reader.js";
import { VERSION_2 } from "./discover.js";
import { GitHttpError, type GitHttp } from "./http.js";
import { FLUSH, packet, PacketTracker, readRequest, RESPONSE_END } from "./packets.js";

/** Takes bytes in order, and answers when it wants more. */
export type Sink = (bytes: Uint8Array | string) => Promise<void>;

/**
 * Protocol version 2: git writes its requests itself, each up to a flush, and the server's answers go back as they are.
 * Ends when git has no more requests.
 * @throws GitHttpError
 */
export async function relayRequests(http: GitHttp, input: ByteReader, output: Sink): Promise<void> {
  for (;;) {
    const request = await readRequest(input, "framed");
    if (request === undefined) return;
    await relay(http, request, VERSION_2, output);
    await output(RESPONSE_END);
  }
}

export interface FetchOptions {
  /** `ID NAME` of each ref, as git asked for it. */
  readonly wanted: readonly string[];
  /** What the server said of its refs. */
  readonly advertisement: Buffer;
  /** Of `git fetch-pack`. */
  readonly flags: readonly string[];
  readonly signal: AbortSignal;
}

/**
 * Versions 0 and 1: `git fetch-pack` says what to send, in packets around each request.
 * @returns what git is to be told of the packs: lines that begin with `lock` or `connectivity-ok`
 * @throws GitHttpError
 */
export async function fetchPack(
  http: GitHttp,
  { wanted, advertisement, flags, signal }: FetchOptions,
): Promise<readonly string[]> {
  const args = ["fetch-pack", "--stateless-rpc", "--stdin", "--lock-pack", "--thin", ...flags];
  const child = spawn("git", [...args, http.shown], {
    stdio: ["pipe", "pipe", "inherit"],
    signal,
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  ended.catch(() => {});
  // It is the exit code that tells why nobody reads any more.
  child.stdin.on("error", () => {});
  const write: Sink = (bytes) =>
    new Promise((resolve) => child.stdin.write(bytes, () => resolve()));
  try {
    await write(wanted.map((line) => packet(`${line}\n`)).join("") + FLUSH);
    await write(advertisement);
    const output = new ByteReader(child.stdout as AsyncIterable<Uint8Array>);
    for (;;) {
      const request = await readRequest(output, "payload").catch(() => undefined);
      if (request === undefined || request.length === 0) break;
      await relay(http, request, {}, write);
    }
    child.stdin.end();
    const said = await output.rest(MAX_SAID);
    if ((await ended) !== 0) throw new GitHttpError("git fetch-pack failed");
    return said
      .toString("utf8")
      .split("\n")
      .filter((line) => /^(?:lock |connectivity-ok$)/.test(line));
  } finally {
    child.kill("SIGKILL");
  }
}

/** A line for each pack and each ref. */
const MAX_SAID = 64 * 1024 * 1024;

/** One request and its answer. */
async function relay(
  http: GitHttp,
  request: Buffer,
  headers: Readonly<Record<string, string>>,
  output: Sink,
): Promise<void> {
  const response = await http.post(request, headers);
  const tracker = new PacketTracker();
  try {
    for await (const chunk of response.body) {
      tracker.push(chunk);
      await output(chunk);
    }
  } catch (error) {
    throw http.failure(error);
  }
  if (!tracker.isWhole) {
    throw new GitHttpError(`unable to access '${http.shown}': the answer ended early`);
  }
}
