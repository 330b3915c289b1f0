import { expect, test } from "vitest";
import { FLAGS, UNSUPPORTED, WITHOUT_MEANING } from "../../src/cli/flags.js";

/** All flags of Kaniko's executor, as its releases up to 1.28 have them. */
const KANIKO =
  `annotation bucket build-arg cache cache-copy-layers cache-dir cache-repo cache-run-layers cache-ttl cleanup
  compressed-caching compression compression-level context context-sub-path credential-helpers custom-platform customPlatform
  destination digest-file dockerfile dryrun force force-build-metadata git ignore-path ignore-var-run image-download-retry
  image-format image-fs-extract-retry image-name-tag-with-digest-file image-name-with-digest-file insecure insecure-pull
  insecure-registry kaniko-dir label log-format log-timestamp materialize no-push no-push-cache oci-layout-path pre-cleanup
  preserve-context push-ignore-immutable-tag-errors push-retry registry-certificate registry-client-cert registry-map
  registry-mirror reproducible secret single-snapshot skip-default-registry-fallback skip-push-permission-check
  skip-tls-verify skip-tls-verify-pull skip-tls-verify-registry skip-unused-stages snapshot-mode snapshotMode tar-path tarPath
  target use-new-run verbosity whitelist-var-run`.split(/\s+/);

test("every flag of Kaniko's executor works, makes no difference, or is refused with what to do instead", () => {
  const ours = FLAGS.flatMap((spec) => [spec.name, ...("aliases" in spec ? spec.aliases : [])]);
  const known: ReadonlySet<string> = new Set([
    ...ours,
    ...WITHOUT_MEANING.keys(),
    ...UNSUPPORTED.keys(),
  ]);
  expect(KANIKO.filter((name) => !known.has(name))).toEqual([]);
  expect(KANIKO.filter((name) => UNSUPPORTED.has(name))).toEqual(["bucket"]);
});
