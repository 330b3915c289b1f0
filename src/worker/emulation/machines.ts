/** Processors as ELF and QEMU call them: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html */
interface Machine {
  /** As in `qemu-aarch64`. */
  readonly emulator: string;
  readonly bits: 32 | 64;
  readonly order: "little" | "big";
  /** e_machine. */
  readonly number: number;
  /** e_flags, where a kernel looks at them. */
  readonly flags?: number;
  /** A program's code that ends with the code {@link PROBE_CODE}: hexadecimal, as it lies in memory. */
  readonly exits: string;
}

/** The exit code of {@link probeProgram}; no shell or launcher ends with it. */
export const PROBE_CODE = 42;

/** By the name that images use. */
const MACHINES: Readonly<Record<string, Machine>> = {
  // mov eax, 60; mov edi, 42; syscall
  amd64: machine("x86_64", 64, "little", 62, "b83c000000 bf2a000000 0f05"),
  // mov eax, 1; mov ebx, 42; int 0x80
  "386": machine("i386", 32, "little", 3, "b801000000 bb2a000000 cd80"),
  // mov x0, 42; mov x8, 93; svc 0
  arm64: machine("aarch64", 64, "little", 183, "400580d2 a80b80d2 010000d4"),
  // mov r0, 42; mov r7, 1; svc 0; of the fifth version of the calling convention
  arm: machine("arm", 32, "little", 40, "2a00a0e3 0170a0e3 000000ef", 0x05000000),
  // li a0, 42; li a7, 93; ecall
  riscv64: machine("riscv64", 64, "little", 243, "1305a002 9308d005 73000000"),
  // lghi r2, 42; svc 1
  s390x: machine("s390x", 64, "big", 22, "a729002a 0a01"),
  // li r0, 1; li r3, 42; sc; of the second version of the calling convention
  ppc64le: machine("ppc64le", 64, "little", 21, "01000038 2a006038 02000044", 2),
  // li.w a0, 42; li.w a7, 93; syscall 0
  loong64: machine("loongarch64", 64, "little", 258, "04a88002 0b748102 00002b00"),
  // li v0, 5058; li a0, 42; syscall; of the second revision of MIPS64
  mips64le: machine("mips64el", 64, "little", 8, "c2130224 2a000424 0c000000", 0x80000007),
  mips64: machine("mips64", 64, "big", 8, "240213c2 2404002a 0000000c", 0x80000007),
};

function machine(
  emulator: string,
  bits: Machine["bits"],
  order: Machine["order"],
  number: number,
  exits: string,
  flags = 0,
): Machine {
  return { emulator, bits, order, number, flags, exits };
}

/** QEMU's name of the program that runs an architecture's programs; `undefined` for one that is not known here. */
export function emulatorName(architecture: string): string | undefined {
  const known = MACHINES[architecture];
  return known && `qemu-${known.emulator}`;
}

/** The architecture of a program by its first bytes: `undefined` when they are not of an ELF program of a known one. */
export function architectureOf(head: Uint8Array): string | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  if (bytes.length < HEAD || !bytes.subarray(0, 4).equals(ELF)) return undefined;
  const bits = bytes[4] === 2 ? 64 : 32;
  const order = bytes[5] === 2 ? "big" : "little";
  const number = order === "big" ? bytes.readUInt16BE(MACHINE_AT) : bytes.readUInt16LE(MACHINE_AT);
  const found = Object.entries(MACHINES).find(
    ([, each]) => each.bits === bits && each.order === order && each.number === number,
  );
  return found?.[0];
}

const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);
const MACHINE_AT = 18;
/** Bytes of a header up to and with e_machine: what a registration compares. */
const HEAD = 20;
/** Where the program lies in memory; any page will do. */
const BASE = 0x400000;
const PAGE = 0x10000;

/** A static program of a few dozen bytes that does nothing but end with {@link PROBE_CODE}. */
export function probeProgram(architecture: string): Buffer | undefined {
  const known = MACHINES[architecture];
  if (known === undefined) return undefined;
  const { bits, order, number, flags = 0 } = known;
  const code = Buffer.from(known.exits.replaceAll(" ", ""), "hex");
  const wide = bits === 64;
  const word = wide ? 8 : 4;
  const [header, segment] = wide ? [64, 56] : [52, 32];
  const start = header + segment;
  const size = start + code.length;
  const executable = [4, 5] as const;
  // Each line: the bytes that its fields have, and their values, in the specification's order.
  const fields: readonly (readonly number[])[] = [
    [2, 2, number],
    [4, 1],
    [word, BASE + start, header, 0],
    [4, flags],
    [2, header, segment, 1, 0, 0, 0],
    [4, 1, ...(wide ? executable.slice(1) : [])],
    [word, 0, BASE, BASE, size, size],
    wide ? [] : executable,
    [word, PAGE],
  ];
  const identity = [wide ? 2 : 1, order === "big" ? 2 : 1, 1];
  const head = Buffer.concat([ELF, Buffer.from(identity), Buffer.alloc(9)]);
  return Buffer.concat([head, ...fields.map((field) => encode(field, order)), code]);
}

function encode([bytes = 0, ...values]: readonly number[], order: Machine["order"]): Buffer {
  const fields = Buffer.alloc(bytes * values.length);
  const low = Math.min(bytes, 4);
  for (const [index, value] of values.entries()) {
    if (order === "big") fields.writeUIntBE(value, (index + 1) * bytes - low, low);
    else fields.writeUIntLE(value, index * bytes, low);
  }
  return fields;
}

/**
 * What the kernel is told so that it runs an architecture's programs with `emulator`:
 * https://docs.kernel.org/admin-guide/binfmt-misc.html
 * @param keepsName the emulator understands that it gets the name that the program was called by (QEMU 6)
 */
export function registration(
  architecture: string,
  emulator: string,
  keepsName: boolean,
): string | undefined {
  const program = probeProgram(architecture);
  const known = MACHINES[architecture];
  if (program === undefined || known === undefined) return undefined;
  const magic = program.subarray(0, HEAD);
  const mask = Buffer.alloc(HEAD, 0xff);
  // Whichever operating system's convention, and programs that can lie anywhere (3) as well as those that cannot (2).
  mask[7] = 0;
  mask[known.order === "big" ? 17 : 16] = 0xfe;
  const hex = (bytes: Uint8Array): string =>
    [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  // F: the emulator is opened now, since no image has it. C: set-id programs stay that.
  const flags = `${keepsName ? "P" : ""}OCF`;
  return `:tsbuild-${architecture}:M::${hex(magic)}:${hex(mask)}:${emulator}:${flags}`;
}
