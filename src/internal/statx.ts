/** statx(2) of this machine, which looks at a file in half the time of Node's lstat. */
export interface Statx {
  /** The kernel's `struct statx`, of the last call that gave true; on a machine whose lower bytes come first. */
  readonly words: Uint32Array;
  /** Follows no link. False where it failed, whatever the reason: Node's lstat tells. */
  look(path: string): boolean;
}
