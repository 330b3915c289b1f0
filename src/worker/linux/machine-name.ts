import type { Libc } from "./libc.js";

/** Bytes of one field of the kernel's `struct utsname`, of which there are six. */
const FIELD = 65;
const NODE_AT = FIELD;
const FIELDS = 6;

/** What uname(2) says, with another name for the machine; cut off at 64 bytes. @throws SystemCallError */
export type UnameReader = (name: string) => Buffer;

export function openUnameReader(libc: Libc): UnameReader {
  const uname = libc.declare("int uname(_Out_ uint8_t *into)");
  return (name) => {
    const into = Buffer.alloc(FIELD * FIELDS);
    uname(into);
    into.fill(0, NODE_AT, NODE_AT + FIELD);
    into.write(name, NODE_AT, FIELD - 1);
    return into;
  };
}
