import type { PathShape } from "./caller.js";

/** A call on extended attributes. What follows the file: name, value or list, size, flags; as far as the call has them. */
export interface AttributeCall extends PathShape {
  readonly kind: "set" | "get" | "list" | "remove";
}

const KINDS = ["set", "get", "list", "remove"] as const;
const FORMS = [
  { path: 0, follow: true },
  { path: 0, follow: false },
  { directory: 0, follow: true },
] as const;

/** Numbers of setxattr: the twelve follow one another in the same order everywhere (linux/unistd.h). */
const FIRST: Readonly<Record<string, number>> = { x64: 188, arm64: 5 };

/** By number. Empty on other processors than x64 and arm64. */
export function attributeCalls(): ReadonlyMap<number, AttributeCall> {
  const first = FIRST[process.arch];
  if (first === undefined) return new Map();
  const calls = KINDS.flatMap((kind) => FORMS.map((form) => ({ kind, ...form })));
  return new Map(calls.map((call, index) => [first + index, call]));
}

/** A call that makes a node; arguments by index. */
export interface NodeCall extends Omit<PathShape, "follow"> {
  readonly path: number;
  /** With the bits of the type. */
  readonly mode: number;
  readonly device: number;
}

const MKNODAT: NodeCall = { directory: 0, path: 1, mode: 2, device: 3 };

/** By number: mknod and mknodat. */
export const NODE_CALLS: Readonly<Record<string, ReadonlyMap<number, NodeCall>>> = {
  x64: new Map([
    [133, { path: 0, mode: 1, device: 2 }],
    [259, MKNODAT],
  ]),
  arm64: new Map([[33, MKNODAT]]),
};
