import { ByteReader } from "./byte-reader.js";
import { GitHttpError, type GitHttp } from "./http.js";
import { readPacket } from "./packets.js";

/** A ref and what it names: an object, or another ref. */
export type RemoteRef = { readonly name: string } & (
  { readonly id: string } | { readonly target: string }
);

/** What a server said when it was asked for its refs. */
export type Discovery =
  /** Protocol version 2: its capabilities, as they came. */
  | { readonly kind: "v2"; readonly capabilities: Buffer }
  /** Versions 0 and 1: the refs, also as they came. */
  | {
      readonly kind: "v0";
      readonly advertisement: Buffer;
      readonly refs: readonly RemoteRef[];
      readonly objectFormat: string;
    }
  /** A web server that knows nothing of git ("dumb"): the repository's files. */
  | { readonly kind: "dumb"; readonly refs: readonly RemoteRef[]; readonly objectFormat: string };

export const VERSION_2: Readonly<Record<string, string>> = { "git-protocol": "version=2" };

/** Version 2 says what it can; the other two list every ref, some hundred thousand in the largest repositories. */
const MAX_ADVERTISEMENT = 64 * 1024 * 1024; // bytes
const MAX_HEAD = 4096; // bytes
const ID = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Asks for a repository's refs, or for what the server can do. @throws GitHttpError */
export async function discover(http: GitHttp): Promise<Discovery> {
  const response = await http.discover(VERSION_2);
  const type = response.header("content-type")?.split(";")[0];
  try {
    const body = new ByteReader(response.body);
    const bytes = await body.rest(MAX_ADVERTISEMENT);
    if (type === "application/x-git-upload-pack-advertisement") {
      return await readAdvertisement(withoutService(bytes));
    }
    return await readFiles(http, bytes.toString("utf8"));
  } catch (error) {
    throw http.failure(error);
  }
}

/** Version 2 needs no line with the service's name, but some servers send it. */
function withoutService(bytes: Buffer): Buffer {
  const service = /^[0-9a-f]{4}# service=git-upload-pack\n?0000/.exec(
    bytes.toString("latin1", 0, 64),
  );
  return bytes.subarray(service?.[0].length ?? 0);
}

async function readAdvertisement(bytes: Buffer): Promise<Discovery> {
  const reader = new ByteReader(once(bytes));
  const refs: RemoteRef[] = [];
  let capabilities: readonly string[] = [];
  for (;;) {
    const next = await readPacket(reader);
    if (next === undefined) throw new GitHttpError("the list of refs ends early");
    if (next.kind !== "data") break;
    const line = next.payload.toString("utf8").replace(/\n$/, "");
    if (line === "version 2") return { kind: "v2", capabilities: bytes };
    if (line.startsWith("ERR ")) throw new GitHttpError(`remote error: ${line.slice(4)}`);
    const [ref = "", said] = line.split("\0");
    if (said !== undefined) capabilities = said.split(" ").filter(Boolean);
    const [id = "", name = ""] = ref.split(" ");
    if (ID.test(id) && name !== "" && name !== "capabilities^{}") refs.push({ id, name });
  }
  const valueOf = (name: string): string | undefined =>
    capabilities.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
  const [from, target] = valueOf("symref")?.split(":") ?? [];
  return {
    kind: "v0",
    advertisement: bytes,
    refs: refs.map((ref) => (ref.name === from && target ? { name: from, target } : ref)),
    objectFormat: valueOf("object-format") ?? "sha1",
  };
}

/** `info/refs` as a file, and `HEAD`, which it does not tell of. */
async function readFiles(http: GitHttp, text: string): Promise<Discovery> {
  const refs: RemoteRef[] = [];
  for (const line of text.split("\n").filter(Boolean)) {
    const [id = "", name = ""] = line.split("\t");
    if (!ID.test(id) || !name.startsWith("refs/")) {
      throw new GitHttpError(`${http.shown}info/refs is not valid: is this a git repository?`);
    }
    refs.push({ id, name });
  }
  const head = await http.file("HEAD");
  if (head !== undefined) {
    const said = Buffer.from(await head.bytes(MAX_HEAD))
      .toString("utf8")
      .trim();
    const target = /^ref: (refs\/\S+)$/.exec(said)?.[1];
    if (target !== undefined && refs.some(({ name }) => name === target)) {
      refs.unshift({ name: "HEAD", target });
    } else if (ID.test(said)) refs.unshift({ name: "HEAD", id: said });
  }
  const [id = ""] = refs.flatMap((ref) => ("id" in ref ? [ref.id] : []));
  return { kind: "dumb", refs, objectFormat: id.length === 64 ? "sha256" : "sha1" };
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
