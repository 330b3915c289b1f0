import type { FlagSpec } from "./flags.js";

/** How registries are spoken to. */
export const REGISTRY_FLAGS = [
  { name: "insecure", type: "flag", group: "Registry", help: "push over plain HTTP" },
  { name: "insecure-pull", type: "flag", group: "Registry", help: "pull over plain HTTP" },
  {
    name: "insecure-registry",
    type: "list",
    value: "HOST",
    group: "Registry",
    help: "use plain HTTP with this registry; may be repeated",
  },
  {
    name: "skip-tls-verify",
    type: "flag",
    group: "Registry",
    help: "do not verify certificates, in pushes and in pulls",
  },
  {
    name: "skip-tls-verify-pull",
    type: "flag",
    group: "Registry",
    help: "do not verify certificates in pulls",
  },
  {
    name: "skip-tls-verify-registry",
    type: "list",
    value: "HOST",
    group: "Registry",
    help: "do not verify this registry's certificate",
  },
  {
    name: "registry-certificate",
    type: "list",
    value: "HOST=FILE",
    group: "Registry",
    help: "PEM of authorities that are believed of this registry; may be repeated",
  },
  {
    name: "registry-client-cert",
    type: "list",
    value: "HOST=CERT,KEY",
    group: "Registry",
    help: "PEM files by which this registry is shown who we are; may be repeated",
  },
  {
    name: "registry-mirror",
    type: "list",
    value: "HOST[/PATH]",
    group: "Registry",
    help: "a mirror of Docker Hub for pulls",
  },
  {
    name: "registry-map",
    type: "list",
    value: "FROM=TO",
    group: "Registry",
    help: "pulls from TO what names FROM; several separated by ;",
  },
  {
    name: "skip-default-registry-fallback",
    type: "flag",
    group: "Registry",
    help: "a registry with mirrors or maps is not asked itself when they fail",
  },
  {
    name: "skip-push-permission-check",
    type: "flag",
    group: "Registry",
    help: "do not ask before the build whether the push will be allowed",
  },
  {
    name: "push-retry",
    type: "number",
    value: "N",
    group: "Registry",
    help: "how often what fails in a push is tried again (default 4, and never fewer)",
  },
  {
    name: "image-download-retry",
    type: "number",
    value: "N",
    group: "Registry",
    help: "the same for the manifests of images that are pulled",
  },
  {
    name: "image-fs-extract-retry",
    type: "number",
    value: "N",
    group: "Registry",
    help: "the same for their layers, which go on from where they broke off",
  },
] as const satisfies readonly FlagSpec[];
