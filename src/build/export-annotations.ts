import { TsbuildError } from "../errors.js";
import { formatPlatform, parsePlatform } from "../oci/platform.js";
import type { Platform } from "../oci/types.js";

type Pairs = Readonly<Record<string, string>>;

/** Annotations by what carries them. */
export interface Annotations {
  /** In the manifest itself. */
  manifest(platform: Platform): Pairs;
  /** In the entry that names the manifest: an index's, or a layout's when there is no index. */
  manifestDescriptor(platform: Platform): Pairs;
  readonly index: Pairs;
  /** In a layout's entry that names the index. */
  readonly indexDescriptor: Pairs;
}

const CARRIERS = ["manifest", "manifest-descriptor", "index", "index-descriptor"] as const;
type Carrier = (typeof CARRIERS)[number];

interface Annotation {
  readonly carrier: Carrier;
  /** Absent: every one. */
  readonly platform?: string;
  readonly name: string;
  readonly value: string;
}

/** buildx's spelling: `carrier[platform],carrier:name`; a name alone is the manifest's. */
const PREFIX = /^([a-z-]+(?:\[[^\]]*\])?(?:,[a-z-]+(?:\[[^\]]*\])?)*):(.+)$/s;
const ONE_CARRIER = /^([a-z-]+)(?:\[([^\]]*)\])?$/;

/**
 * Reads annotations whose names may say what carries them.
 * @param platforms what is built; an annotation for another one is a mistake
 * @param index whether there will be an index
 * @throws TsbuildError USAGE
 */
export function readAnnotations(
  given: Pairs,
  platforms: readonly Platform[],
  index: boolean,
): Annotations {
  const all = Object.entries(given).flatMap(([key, value]) => readOne(key, value, platforms));
  const lost = all.find(({ carrier }) => carrier.startsWith("index"));
  if (!index && lost !== undefined) {
    throw new TsbuildError("USAGE", `annotation ${lost.name}: there is no index to carry it`, {
      hint: "an index is made for several platforms, or with --build-arg BUILDKIT_MULTI_PLATFORM=1",
    });
  }
  const select = (carrier: Carrier, platform?: Platform): Pairs =>
    Object.fromEntries(
      all
        .filter((one) => one.carrier === carrier)
        .filter((one) => one.platform === undefined || one.platform === nameOf(platform))
        .map(({ name, value }) => [name, value]),
    );
  return {
    manifest: (platform) => select("manifest", platform),
    manifestDescriptor: (platform) => select("manifest-descriptor", platform),
    index: select("index"),
    indexDescriptor: select("index-descriptor"),
  };
}

function nameOf(platform: Platform | undefined): string | undefined {
  return platform && formatPlatform(platform);
}

function readOne(key: string, value: string, platforms: readonly Platform[]): Annotation[] {
  const [, prefix, rest] = PREFIX.exec(key) ?? [];
  if (prefix === undefined || rest === undefined) {
    if (key === "") throw wrong(key, "it has no name");
    return [{ carrier: "manifest", name: key, value }];
  }
  return prefix.split(",").map((text) => {
    const [, word, where] = ONE_CARRIER.exec(text) ?? [];
    const carrier = CARRIERS.find((known) => known === word);
    if (carrier === undefined) throw wrong(key, `nothing called "${word ?? text}" carries any`);
    if (where === undefined) return { carrier, name: rest, value };
    if (carrier.startsWith("index")) throw wrong(key, "an index is for all platforms");
    const platform = formatPlatform(parsePlatform(where));
    if (!platforms.some((one) => formatPlatform(one) === platform)) {
      throw wrong(key, `${platform} is not built`);
    }
    return { carrier, platform, name: rest, value };
  });
}

function wrong(key: string, why: string): TsbuildError {
  return new TsbuildError("USAGE", `annotation "${key}": ${why}`, {
    hint: `expected name=value, or one of ${CARRIERS.join(", ")} before it: manifest[linux/amd64]:name=value`,
  });
}
