import { randomBytes } from "node:crypto";
import { setMaxListeners } from "node:events";
import { mkdir, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { currentProcess, formatProcess, parseProcess, processState } from "./process-identity.js";
import { pause } from "./retry.js";

/** How often a holder shows that it lives, for processes that cannot ask the kernel whether it does. */
const HEARTBEAT_MS = 10_000;
/** Without a heartbeat for so long, a holder of another boot, machine or pid namespace is taken for dead. */
const ABANDONED_MS = 6 * HEARTBEAT_MS;
const FIRST_WAIT_MS = 10;
const MAX_WAIT_MS = 500;

const CHOOSING = "choosing";
const NAME = /^(choosing|\d{15})-([0-9a-f]+(?:\.\d+){3})-([0-9a-f]{12})$/;

interface Ticket {
  readonly name: string;
  /** `undefined`: it is being drawn. */
  readonly number: number | undefined;
}

/**
 * One at a time among processes, through a directory: Lamport's bakery. Whoever wants in draws a ticket with a number above
 * all others, and waits for lower ones. No name is used twice, so a dead process's ticket can be deleted by anybody at any
 * time, which is what a lock file has no safe way for. Waiting ends with the signal; disposing gives the lock back.
 * @param directory for this lock alone; made when absent
 */
export async function lockDirectory(
  directory: string,
  signal: AbortSignal,
): Promise<AsyncDisposable> {
  signal.throwIfAborted();
  // Any number may wait on one build's signal; Node would take more than ten for a leak.
  setMaxListeners(0, signal);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const owner = `${formatProcess(currentProcess())}-${randomBytes(6).toString("hex")}`;
  const choosing = join(directory, `${CHOOSING}-${owner}`);
  const mine: string[] = [choosing];
  const heartbeat = setInterval(() => {
    const now = new Date();
    for (const path of mine) utimes(path, now, now).catch(() => undefined);
  }, HEARTBEAT_MS);
  heartbeat.unref();
  const release = async (): Promise<void> => {
    clearInterval(heartbeat);
    for (const path of mine) await rm(path, { force: true }).catch(() => undefined);
  };
  try {
    await writeFile(choosing, "", { flag: "wx", mode: 0o600 });
    const highest = Math.max(0, ...(await tickets(directory)).map(({ number }) => number ?? 0));
    const ticket = `${String(highest + 1).padStart(15, "0")}-${owner}`;
    mine.push(join(directory, ticket));
    await writeFile(join(directory, ticket), "", { flag: "wx", mode: 0o600 });
    await rm(choosing);
    await waitForTurn(directory, ticket, signal);
    return { [Symbol.asyncDispose]: release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Those who draw at the same moment may get the same number; the rest of the name decides between them. */
async function waitForTurn(directory: string, mine: string, signal: AbortSignal): Promise<void> {
  // Who begins to draw from now on gets a higher number than ours.
  const drawing = new Set(
    (await tickets(directory)).flatMap(({ name, number }) => (number === undefined ? [name] : [])),
  );
  const isTurn = async (): Promise<boolean> => {
    const now = await tickets(directory);
    return !now.some(({ name, number }) =>
      number === undefined ? drawing.has(name) : name < mine,
    );
  };
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, MAX_WAIT_MS)) {
    // A listing can miss who takes the ticket meanwhile and stops drawing; the next one has the ticket.
    if ((await isTurn()) && (await isTurn())) return;
    await pause(wait, signal);
  }
}

/** The tickets of the living; others are deleted. */
async function tickets(directory: string): Promise<readonly Ticket[]> {
  const found: Ticket[] = [];
  for (const name of await readdir(directory)) {
    const [, number, owner = ""] = NAME.exec(name) ?? [];
    if (number === undefined) continue;
    if (await isDead(join(directory, name), owner)) {
      await rm(join(directory, name), { force: true }).catch(() => undefined);
    } else found.push({ name, number: number === CHOOSING ? undefined : Number(number) });
  }
  return found;
}

async function isDead(path: string, owner: string): Promise<boolean> {
  const identity = parseProcess(owner);
  const state = identity === undefined ? "unknown" : processState(identity);
  if (state !== "unknown") return state === "dead";
  const touched = await stat(path).catch(() => undefined);
  return touched !== undefined && Date.now() - touched.mtimeMs > ABANDONED_MS;
}
