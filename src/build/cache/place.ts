import type { Digest } from "../../oci/digest.js";
import type { Descriptor } from "../../oci/types.js";
import type { LayerRecord } from "../../solver/cache/types.js";
import type { Page } from "./page.js";

/** Where pages are kept, by names as tags are: a repository of a registry, or an OCI layout. */
export interface CachePlace {
  /** For people. */
  readonly name: string;
  /** The bytes of the manifest or index that the tag or digest names; `undefined`: there is none. @throws TsbuildError */
  manifest(name: PageName, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** A small blob as a whole, verified. @throws TsbuildError */
  read(blob: Descriptor, signal: AbortSignal): Promise<Uint8Array>;
  /** Where the bytes of a layer of it can be had. */
  locate(layer: Descriptor): Pick<LayerRecord, "origin" | "open">;
  /** Whether it has the layer, as far as that is known without reading it. */
  readonly has: (layer: Descriptor, signal: AbortSignal) => Promise<boolean>;
  /** Puts the page there, its layers first, and gives it the tag. @throws TsbuildError */
  put(tag: string, page: Page, signal: AbortSignal): Promise<void>;
}

export type PageName = { readonly tag: string } | { readonly digest: Digest };
