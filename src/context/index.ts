export { openDirectory } from "./directory.js";
export { fetchGit, openGit } from "./git.js";
export { parseGitRef, showGitUrl } from "./git-ref.js";
export { compileIgnoreFile, findIgnoreFile, parseIgnoreFile } from "./ignore.js";
export { BadPatternError, hasWildcards, matchPath } from "../internal/path-match.js";
export { fetchUrlFile, urlFileName } from "./url-file.js";
export type { DirectoryOptions, FileSource, IgnoreFile, RemoteSources, UrlFile } from "./types.js";
export type { GitCheckout, GitOptions } from "./git.js";
export type { GitCredentials, GitRef, GitRefOptions } from "./git-ref.js";
