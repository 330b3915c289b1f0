import { hexOf } from "../oci/digest.js";
import { encodeJson } from "../oci/json.js";
import { serializeIndex } from "../oci/manifest.js";
import type { Reference } from "../oci/reference.js";
import { LAYOUT_FILE, LAYOUT_VERSION, layoutEntries } from "./oci-layout.js";
import { writeArchive } from "./output-archive.js";
import { blobsOf, type OutputImage, type OutputIndex } from "./output-image.js";

/**
 * Writes an image, or an index of images, as an OCI layout in a tar: what skopeo calls `oci-archive`. The file is there
 * complete or not at all; the same image gives the same bytes.
 * @throws TsbuildError STORE_FAILED when the file cannot be written or a source is damaged
 */
export async function writeOciArchive(
  path: string,
  image: OutputImage | OutputIndex,
  references: readonly Reference[],
  signal: AbortSignal,
): Promise<void> {
  const index = serializeIndex("oci", layoutEntries(image, references));
  await writeArchive(
    path,
    "the OCI archive",
    async (archive) => {
      await archive.addBytes(LAYOUT_FILE, encodeJson({ imageLayoutVersion: LAYOUT_VERSION }));
      for (const blob of blobsOf(image)) {
        await archive.add(`blobs/sha256/${hexOf(blob.descriptor.digest)}`, blob);
      }
      await archive.addBytes("index.json", index.bytes);
    },
    signal,
  );
}
