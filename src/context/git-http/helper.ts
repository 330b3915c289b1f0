import type { GitAccess } from "../git-access.js";
import { ByteReader } from "./byte-reader.js";
import { discover, type Discovery } from "./discover.js";
import { fetchObjects } from "./dumb.js";
import { type GitClient, GitHttp, GitHttpError } from "./http.js";
import { fetchPack, relayRequests, type Sink } from "./smart.js";

export interface HelperOptions {
  /** Of the repository, as git has it. */
  readonly url: string;
  readonly client: GitClient;
  readonly access: GitAccess | undefined;
  /** What git writes to its helper, and reads from it. */
  readonly input: AsyncIterable<Uint8Array>;
  readonly output: Sink;
  readonly signal: AbortSignal;
}

/** gitremote-helpers(7). Version 2 goes by `stateless-connect`, older servers and plain files by `list` and `fetch`. */
const CAPABILITIES = "stateless-connect\nfetch\noption\nobject-format\n\n";

/** `git fetch-pack`'s flag for an option of the helper that is `true`. */
const FLAGS: Readonly<Record<string, string>> = {
  followtags: "--include-tag",
  cloning: "--cloning",
  "update-shallow": "--update-shallow",
  "check-connectivity": "--check-self-contained-and-connected",
};

/**
 * What `git-remote-http` is: git's transport to http and https, without libcurl. Reads git's commands and follows them
 * until there are no more. It reads repositories; it never writes to one.
 * @throws GitHttpError with one line for people
 */
export async function serveGit(options: HelperOptions): Promise<void> {
  const helper = new Helper(options);
  const input = new ByteReader(options.input);
  for (;;) {
    const line = await input.line();
    if (line === undefined || line === "") return;
    if ((await helper.follow(line, input)) === "done") return;
  }
}

class Helper {
  readonly #http: GitHttp;
  readonly #output: Sink;
  readonly #signal: AbortSignal;
  readonly #settings = new Map<string, string>();
  #discovery: Promise<Discovery> | undefined;

  constructor({ url, client, access, output, signal }: HelperOptions) {
    this.#http = new GitHttp({ url, client, access, signal });
    this.#output = output;
    this.#signal = signal;
  }

  async follow(line: string, input: ByteReader): Promise<"go on" | "done"> {
    const [command = "", ...words] = line.split(" ");
    switch (command) {
      case "capabilities":
        await this.#output(CAPABILITIES);
        return "go on";
      case "option":
        await this.#output(this.#set(words) ? "ok\n" : "unsupported\n");
        return "go on";
      case "list":
        await this.#output(listOf(await this.#discover(), this.#settings.has("object-format")));
        return "go on";
      case "stateless-connect":
        return this.#connect(words[0] ?? "", input);
      case "fetch":
        await this.#fetch([words.join(" "), ...(await restOfBatch(input))]);
        return "go on";
      default:
        throw new GitHttpError(`git asks for "${command}", which this transport has not`);
    }
  }

  #discover(): Promise<Discovery> {
    return (this.#discovery ??= discover(this.#http));
  }

  #set([name = "", value = ""]: readonly string[]): boolean {
    this.#settings.set(name, value);
    return name in FLAGS || ["verbosity", "progress", "depth", "object-format"].includes(name);
  }

  async #connect(service: string, input: ByteReader): Promise<"go on" | "done"> {
    const discovery = service === "git-upload-pack" ? await this.#discover() : undefined;
    if (discovery?.kind !== "v2") {
      await this.#output("fallback\n");
      return "go on";
    }
    await this.#output("\n");
    await this.#output(discovery.capabilities);
    await relayRequests(this.#http, input, this.#output);
    return "done";
  }

  async #fetch(wanted: readonly string[]): Promise<void> {
    const discovery = await this.#discover();
    const depth = this.#settings.get("depth");
    switch (discovery.kind) {
      case "v0": {
        const { advertisement } = discovery;
        const flags = ["--no-progress", ...(depth === undefined ? [] : [`--depth=${depth}`])];
        for (const [name, flag] of Object.entries(FLAGS)) {
          if (this.#settings.get(name) === "true") flags.push(flag);
        }
        const fetch = { wanted, advertisement, flags, signal: this.#signal };
        const said = await fetchPack(this.#http, fetch);
        return this.#output(said.map((line) => `${line}\n`).join("") + "\n");
      }
      case "dumb": {
        if (depth !== undefined) {
          throw new GitHttpError("dumb http transport does not support shallow capabilities");
        }
        const ids = wanted.map((line) => line.split(" ")[0] ?? "");
        await fetchObjects(this.#http, [...new Set(ids)], this.#signal);
        return this.#output("\n");
      }
      case "v2":
        throw new GitHttpError("this git is too old for the server's protocol");
      default:
        return discovery satisfies never;
    }
  }
}

function listOf(discovery: Discovery, tellsFormat: boolean): string {
  if (discovery.kind === "v2") {
    throw new GitHttpError("this git is too old for the server's protocol");
  }
  const lines = discovery.refs.map((ref) =>
    "target" in ref ? `@${ref.target} ${ref.name}` : `${ref.id} ${ref.name}`,
  );
  const format = tellsFormat ? [`:object-format ${discovery.objectFormat}`] : [];
  return [...format, ...lines, "", ""].join("\n");
}

/** `fetch` comes in batches that end with an empty line. */
async function restOfBatch(input: ByteReader): Promise<readonly string[]> {
  const batch: string[] = [];
  for (;;) {
    const line = await input.line();
    if (line === undefined || line === "") return batch;
    batch.push(line.replace(/^fetch /, ""));
  }
}
