export { openDirectory } from "./directory.js";
export { compileIgnoreFile, findIgnoreFile, parseIgnoreFile } from "./ignore.js";
export { BadPatternError, hasWildcards, matchPath } from "../internal/path-match.js";
export { fetchUrlFile, urlFileName } from "./url-file.js";
export type { DirectoryOptions, FileSource, IgnoreFile, RemoteSources, UrlFile } from "./types.js";
