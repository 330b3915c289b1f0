import type { ErrorCode } from "../../errors.js";
import type { RootMount } from "../snapshot/types.js";
import type { MadePoint } from "./mount-points.js";
import type { SandboxSpec } from "./types.js";

/** The name that steps have where they can have one, and nobody asks for another; see `RUN` in the solver. */
export const USUAL_HOSTNAME = "buildkitsandbox";

/** What a waiting init is told: once, on its standard input, as {@link encodeOrder} writes it. */
export interface Order {
  readonly process: SandboxSpec;
  readonly root: RootMount;
  /** An empty directory outside every root; the init covers it with a tmpfs that goes away with it. */
  readonly scratch: string;
  /** Options of overlay mounts that this kernel takes. */
  readonly overlayOptions: string;
  /** The namespace maps one id only: no other user can be taken, no groups set. */
  readonly singleId: boolean;
  /** It has no pid namespace of its own: /proc is the outer one, and the command takes a first process's place otherwise. */
  readonly sharesPids?: boolean;
  /** It has no namespaces and no root of its own: the command runs where its first process is. */
  readonly here?: boolean;
}

/** What an init says on descriptor 3, one JSON text per line. The descriptor closes when the command's program takes over. */
export type Report =
  | { readonly kind: "executing"; readonly made: readonly MadePoint[] }
  | {
      readonly kind: "failed";
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint?: string;
      readonly exitCode?: number;
      readonly made: readonly MadePoint[];
    };

export const ORDER_FD = 0;
export const REPORT_FD = 3;

/**
 * Four bytes of length, big endian, and the order: as JSON, with bytes in base64. What Node's own serialization brings
 * along takes an init longer to load than all the rest of it.
 */
export function encodeOrder(order: Order): Buffer {
  const body = Buffer.from(JSON.stringify(withText(order)));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}

/** Reads what {@link encodeOrder} wrote; `undefined` at the end of input. `read` fills the buffer or gives fewer bytes at the end. */
export function decodeOrder(read: (length: number) => Buffer | undefined): Order | undefined {
  const head = read(4);
  if (head === undefined) return undefined;
  const body = read(head.readUInt32BE(0));
  if (body === undefined) return undefined;
  return withBytes(JSON.parse(body.toString()) as WireOrder);
}

type Mount = SandboxSpec["mounts"][number];
type FileMount = Extract<Mount, { kind: "file" }>;
/** An order without bytes. */
type WireMount =
  Exclude<Mount, FileMount> | (Omit<FileMount, "content"> & { readonly content: string });
type WireOrder = Omit<Order, "process"> & {
  readonly process: Omit<SandboxSpec, "mounts"> & { readonly mounts: readonly WireMount[] };
};

function withText(order: Order): WireOrder {
  const mounts = order.process.mounts.map((mount): WireMount => {
    if (mount.kind !== "file") return mount;
    const { buffer, byteOffset, byteLength } = mount.content;
    return { ...mount, content: Buffer.from(buffer, byteOffset, byteLength).toString("base64") };
  });
  return { ...order, process: { ...order.process, mounts } };
}

function withBytes(order: WireOrder): Order {
  const mounts = order.process.mounts.map((mount): Mount =>
    mount.kind === "file" ? { ...mount, content: Buffer.from(mount.content, "base64") } : mount,
  );
  return { ...order, process: { ...order.process, mounts } };
}
