import { stat } from "node:fs/promises";
import { TsbuildError, messageOf } from "../../errors.js";
import type { AgentSource } from "../../solver/types.js";
import type { Store } from "../../store/types.js";
import type { Cleanup } from "../cleanup.js";
import type { BuildOptions } from "../options.js";
import { readPrivateKey } from "./private-key.js";
import { serveAgent, type AgentBackend } from "./server.js";

/** What stands behind each id; `raw`: a socket that is handed on as it is, whatever speaks there. */
export type SshBackend = AgentBackend | { readonly kind: "raw"; readonly path: string };

/**
 * Looks at what the options give for each id, and reads the keys: they stay in this process.
 * @throws TsbuildError USAGE for what fits together in no agent, CONTEXT_UNREADABLE for a key that cannot be used
 */
export async function readAgents({
  sshAgents = {},
}: Pick<BuildOptions, "sshAgents">): Promise<ReadonlyMap<string, SshBackend>> {
  const found = new Map<string, SshBackend>();
  for (const [id, given] of Object.entries(sshAgents)) {
    const { paths, raw } = normalize(given);
    found.set(id, await backendOf(id, paths, raw));
  }
  return found;
}

type Given = NonNullable<BuildOptions["sshAgents"]>[string];

function normalize(given: Given): { readonly paths: readonly string[]; readonly raw: boolean } {
  if (typeof given === "string") return { paths: [given], raw: false };
  return "raw" in given ? { paths: [given.raw], raw: true } : { paths: given, raw: false };
}

async function backendOf(id: string, paths: readonly string[], raw: boolean): Promise<SshBackend> {
  const kinds = await Promise.all(
    paths.map(async (path) => ({ path, socket: await isSocket(id, path) })),
  );
  const [first] = kinds;
  if (first === undefined) throw usage(id, "it names no agent and no key");
  const sockets = kinds.filter(({ socket }) => socket);
  if (raw && sockets.length === 0) throw usage(id, "raw is for sockets only");
  if (raw) return { kind: "raw", path: first.path };
  if (sockets.length > 1) throw usage(id, "only one socket can be given");
  if (sockets.length === 1 && kinds.length > 1)
    throw usage(id, "keys and a socket cannot be mixed");
  if (first.socket) return { kind: "agent", path: first.path };
  return { kind: "keys", keys: await Promise.all(paths.map((path) => readPrivateKey(path))) };
}

async function isSocket(id: string, path: string): Promise<boolean> {
  try {
    return (await stat(path)).isSocket();
  } catch (error) {
    throw new TsbuildError("CONTEXT_UNREADABLE", `ssh ${id}: ${messageOf(error)}`, {
      cause: error,
      hint: "expected the socket of an ssh agent, or files with private keys",
    });
  }
}

function usage(id: string, why: string): TsbuildError {
  return new TsbuildError("USAGE", `ssh ${id}: ${why}`, {
    hint: "expected --ssh ID=SOCKET, --ssh ID=KEY[,KEY…] or --ssh ID=SOCKET,raw=true",
  });
}

/** The sockets that steps are given: an agent of ours for each id, which starts when a step first asks for it. */
export function agentSource(
  backends: ReadonlyMap<string, SshBackend>,
  store: Pick<Store, "stagingPath">,
  cleanup: Cleanup,
): AgentSource {
  const started = new Map<string, Promise<string>>();
  const start = async (backend: AgentBackend): Promise<string> => {
    const server = await serveAgent(backend, store.stagingPath(".agent"));
    return cleanup.use(server).path;
  };
  return async (id) => {
    const backend = backends.get(id);
    if (backend === undefined) return undefined;
    if (backend.kind === "raw") return backend.path;
    const running = started.get(id) ?? start(backend);
    started.set(id, running);
    return running;
  };
}
