import type { BuildOptions } from "../index.js";
import { readFields, readSwitch, wrong, type Fields } from "./output-fields.js";
import { UsageError } from "./usage-error.js";

type ImageOptions = Pick<
  BuildOptions,
  | "annotations"
  | "compression"
  | "compressionLevel"
  | "forceCompression"
  | "imageFormat"
  | "rewriteTimestamp"
>;
/** What a build's flags and its outputs say of the image. There is one image, so each output has all of it. */
export type ImageAttributes = {
  readonly [K in keyof ImageOptions]-?: ImageOptions[K] | undefined;
};
type Compression = NonNullable<BuildOptions["compression"]>;
type Given = Pick<ImageOptions, "annotations" | "compression" | "compressionLevel" | "imageFormat">;

const COMPRESSIONS: Readonly<Record<string, Compression>> = {
  uncompressed: "none",
  gzip: "gzip",
  zstd: "zstd",
};
/** BuildKit's ranges. */
const HIGHEST_LEVEL: Readonly<Record<Compression, number>> = { none: 22, gzip: 9, zstd: 22 };
/** BuildKit's `annotation[-CARRIER][[PLATFORM]].NAME`. */
const ANNOTATION = /^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$/;
const NAMES: ReadonlySet<string> = new Set([
  "compression",
  "compression-level",
  "force-compression",
  "oci-mediatypes",
  "rewrite-timestamp",
]);

/** Whether a field of an output concerns the image, whatever form it is written in. */
export function isImageField(name: string): boolean {
  return NAMES.has(name) || ANNOTATION.test(name);
}

/**
 * What the outputs say of the image, together with the flags.
 * @throws UsageError where two of them say different things: one image cannot be both
 */
export function imageAttributes(given: readonly string[], flags: Given): ImageAttributes {
  const all = given
    .filter((text) => /[=,]/.test(text))
    .map((text) => ({ text, fields: readFields(text) }));
  const agreed = <T extends string | number | boolean>(
    flag: string,
    own: T | undefined,
    read: (text: string, fields: Fields) => T | undefined,
  ): T | undefined => {
    const said = all.map(({ text, fields }) => [`--output "${text}"`, read(text, fields)] as const);
    return agree(flag, [[`--${flag}`, own], ...said]);
  };
  const compression = agreed("compression", flags.compression, readCompression);
  const attributes = {
    compression,
    compressionLevel: agreed("compression-level", flags.compressionLevel, readLevel),
    forceCompression: agreed<boolean>("force-compression", undefined, (text, fields) =>
      readSwitch(text, fields, "force-compression"),
    ),
    imageFormat: agreed("image-format", flags.imageFormat, readFormat),
    rewriteTimestamp: agreed<boolean>("rewrite-timestamp", undefined, (text, fields) =>
      readSwitch(text, fields, "rewrite-timestamp"),
    ),
    annotations: annotations(all, flags.annotations ?? {}),
  };
  checkLevel(attributes.compressionLevel, compression ?? "gzip");
  return attributes;
}

function agree<T>(
  what: string,
  said: readonly (readonly [who: string, value: T | undefined])[],
): T | undefined {
  const known = said.filter(([, value]) => value !== undefined);
  const [first] = known;
  const other = known.find(([, value]) => value !== first?.[1]);
  if (first === undefined || other === undefined) return first?.[1];
  throw new UsageError(
    `${first[0]} and ${other[0]} differ in ${what}`,
    "a build makes one image for all its outputs: build twice, the second time from the store",
  );
}

function readCompression(text: string, fields: Fields): Compression | undefined {
  const value = fields.get("compression");
  if (value === undefined) return undefined;
  const known = Object.hasOwn(COMPRESSIONS, value) ? COMPRESSIONS[value] : undefined;
  if (known !== undefined) return known;
  const names = Object.keys(COMPRESSIONS).join(", ");
  throw wrong(text, `unknown compression "${value}"`, `expected one of ${names}`);
}

function readLevel(text: string, fields: Fields): number | undefined {
  const value = fields.get("compression-level");
  // "The default", as the flag has it.
  if (value === undefined || value === "-1") return undefined;
  if (/^[0-9]{1,2}$/.test(value)) return Number(value);
  throw wrong(
    text,
    `compression-level is a number, not "${value}"`,
    "leave it out, or give 0 to 9",
  );
}

function checkLevel(level: number | undefined, compression: Compression): void {
  const highest = HIGHEST_LEVEL[compression];
  if (level === undefined || (level >= 0 && level <= highest)) return;
  throw new UsageError(
    `compression-level ${level} is out of range`,
    `${compression} has levels 0 to ${highest}`,
  );
}

function readFormat(text: string, fields: Fields): "oci" | "docker" | undefined {
  const oci = readSwitch(text, fields, "oci-mediatypes");
  if (oci === undefined) return undefined;
  return oci ? "oci" : "docker";
}

/** In the spelling of `--annotation`, which the library reads. */
function annotations(
  all: readonly { readonly text: string; readonly fields: Fields }[],
  flags: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const found = new Map(Object.entries(flags));
  for (const { text, fields } of all) {
    for (const [field, value] of fields) {
      const [, carrier, platform, name] = ANNOTATION.exec(field) ?? [];
      if (name === undefined) continue;
      const where = platform === undefined ? "" : `[${platform}]`;
      const isPlain = carrier === undefined && where === "" && !name.includes(":");
      const key = isPlain ? name : `${carrier ?? "manifest"}${where}:${name}`;
      const known = found.get(key);
      if (known !== undefined && known !== value) {
        throw wrong(text, `annotation ${key} has another value already`, "give it once");
      }
      found.set(key, value);
    }
  }
  return Object.fromEntries(found);
}
