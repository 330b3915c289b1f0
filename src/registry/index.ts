export { createRegistry } from "./client.js";
export {
  isImmutableTagError,
  isUnknownRepository,
  RegistryError,
  type RegistryFault,
} from "./errors.js";
export {
  createKeychain,
  KEYCHAIN_SOURCES,
  type KeychainOptions,
  type KeychainSource,
} from "./keychain.js";
export type {
  BlobSource,
  Call,
  Credential,
  ForeignDescriptor,
  HttpEnvironment,
  KeptManifests,
  Keychain,
  Manifest,
  ManifestCall,
  Registry,
  RegistryOptions,
  RepositoryName,
  Secret,
} from "./types.js";
