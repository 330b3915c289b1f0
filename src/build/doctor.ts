import { openStore } from "../store/index.js";
import { readHostFacts, type HostFacts } from "../worker/host-report.js";
import { NoDriverError } from "../worker/session.js";
import { probeHost } from "../worker/start.js";
import type {
  DriverName,
  HostReport,
  LayerMounts,
  LayersReport,
  RefusedDriver,
} from "../worker/types.js";
import { Cleanup } from "./cleanup.js";
import { inPlaceOptions } from "./in-place.js";
import type { BuildOptions } from "./options.js";
import { findStorePlace } from "./store-place.js";

export interface DoctorOptions extends Pick<BuildOptions, "inPlace"> {
  /** Looks whether this one works. Default: the one that a build would choose. */
  readonly driver?: "auto" | DriverName;
  /** As for a build. */
  readonly layerMounts?: LayerMounts;
  /** As for a build: what a filesystem allows depends on which it is. */
  readonly store?: string;
  /** Where `TSBUILD_STORE`, `XDG_CACHE_HOME` and `HOME` are read from. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

/** What a build can do on this machine, or in this Pod. */
export interface Diagnosis {
  /** How `RUN` works; absent: not at all. Dockerfiles without it need no driver. */
  readonly driver?: DriverName;
  /** The ids in the namespace and out here: `inside-outside-count`, or `host`. */
  readonly idMap?: string;
  /** Whether layers are mounted or unpacked, and why; absent: the driver mounts none. */
  readonly layers?: LayersReport;
  /** What the driver cannot do, one sentence each. */
  readonly limits: readonly string[];
  /** Better ones, and why not. */
  readonly refused: readonly RefusedDriver[];
  /** The line of a Pod's spec that changes most. */
  readonly podSpec?: string;
  readonly store: string;
  readonly facts: HostFacts;
}

/** Tries what a build would try, and leaves nothing but the store. @throws TsbuildError USAGE, STORE_FAILED, ABORTED */
export async function diagnose(options: DoctorOptions = {}): Promise<Diagnosis> {
  const signal = options.signal ?? new AbortController().signal;
  await using cleanup = new Cleanup();
  const place = await findStorePlace(options.store, options.environment ?? {});
  const store = cleanup.use(await openStore(place.directory, signal));
  const base = { store: place.directory, facts: readHostFacts(store.staging) };
  try {
    const { inPlace, environment } = options;
    const build = { context: "/", ...(inPlace === undefined ? {} : { inPlace }) };
    const host = await probeHost({
      driver: options.driver ?? "auto",
      inPlace: inPlaceOptions({ ...build, environment: environment ?? {} }, [store.root]),
      staging: store.staging,
      admit: (owner, idMap) => store.admit(owner, idMap),
      ...(options.layerMounts === undefined ? {} : { layerMounts: options.layerMounts }),
      signal,
    });
    const { driver, idMap, refused, layers } = host;
    const shown = layers === undefined ? {} : { layers };
    const limits = limitsOf(host);
    return { driver, idMap, ...shown, limits, refused, ...changeOf(refused, host), ...base };
  } catch (error) {
    if (!(error instanceof NoDriverError)) throw error;
    const { refused } = error;
    return { limits: [], refused, ...changeOf(refused), ...base };
  }
}

/** Whoever has this, and a volume, has everything. */
const OWN_PROC = "hostUsers: false, with securityContext: {procMount: Unmasked}";

/** The best driver is refused first, so what allows it comes first; which ids a namespace has makes no difference. */
function changeOf(
  refused: readonly RefusedDriver[],
  host?: HostReport,
): { readonly podSpec?: string } {
  const specs = refused.flatMap(({ podSpec }) => podSpec ?? []);
  const isWhole = host !== undefined && (host.driver === "overlay" || host.driver === "plain");
  const lacksVolume = specs.find((spec) => spec.startsWith("volumes:"));
  const podSpec = isWhole ? (lacksVolume ?? (host.sharesPids ? OWN_PROC : undefined)) : specs[0];
  return podSpec === undefined ? {} : { podSpec };
}

function limitsOf({ driver, sharesPids, memoryBytes }: HostReport): readonly string[] {
  const limits: string[] = [];
  if (memoryBytes !== undefined) {
    const size = (memoryBytes / 1024 ** 3).toFixed(1);
    limits.push(`what steps write is kept in memory until it is a layer, up to ${size} GiB`);
  }
  if (driver.endsWith("plain")) {
    limits.push("each stage unpacks its base anew, and each step is followed by a scan of it");
  }
  if (driver.startsWith("single-id")) {
    limits.push("everything belongs to root in the image, and no step can be another user");
  }
  if (driver === "in-place") {
    limits.push("steps are not isolated: the container's own root is the stage's, one at a time");
  } else if (driver === "proot") {
    limits.push("steps are not isolated from the builder, and run slower");
  } else if (sharesPids) {
    limits.push("steps see the processes of the Pod, and may signal those of their own user");
  }
  return limits;
}
