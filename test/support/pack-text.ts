import { packLayer } from "../../src/layer/pack-layer.js";
import { file, write } from "./layer-entries.js";

// A program of its own, run with different numbers of threads: prints the digest of a layer of several blocks.
const [, , path = ""] = process.argv;
const text = Array.from({ length: 300_000 }, (_, i) => `line ${i * 7919} of text\n`).join("");
const layer = await packLayer([write("text", file(text))], {
  compression: "gzip",
  format: "oci",
  blobPath: path,
  indexPath: `${path}.index`,
  signal: new AbortController().signal,
});
process.stdout.write(layer.descriptor.digest);
