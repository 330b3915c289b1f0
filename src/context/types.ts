import type { Statx } from "../internal/statx.js";
import type { Digest } from "../oci/digest.js";
import type { StatMemory } from "../oci/content-digest.js";
import type { Tree } from "../oci/tree.js";
import type { GitRef } from "./git-ref.js";

/** What COPY and ADD read from: a directory with its ignore file, a stage, an image. */
export interface FileSource extends AsyncDisposable {
  /** What of it may be copied: ignored files are not there. */
  readonly tree: Tree;
  /** For messages: `context`, `stage build`. */
  readonly name: string;
  /** Why a path is not in the tree, where an ignore pattern is the reason: the pattern. */
  ignoredBy?(path: string): string | undefined;
  /** Whether an ignore file without exceptions excludes the path, existing or not. */
  alwaysIgnores?(path: string): boolean;
  /** Of a regular file: device, inode, size, mtime and ctime, joined by `:`. What has the same identity has the same content, save for changes within one clock tick of reading it. */
  identity?(path: string): string | undefined;
  /**
   * What is below a directory, by content and without times, where there is a faster way than to walk the tree; `undefined`
   * where there is none for this one.
   */
  digestBelow?(
    path: string,
    memory: DigestMemory,
    signal: AbortSignal,
  ): Promise<string | undefined>;
  /** Where there is a faster way than to walk the tree: paths among which are all that could match `pattern` (relative to the directory `base`). Who asks decides by itself, and looks each one up in `tree`. */
  candidates?(base: string, pattern: string): Promise<readonly string[]>;
}

/** What is known of the files of a context. */
export interface DigestMemory {
  /** By `FileSource.identity`. */
  readonly files: StatMemory;
  readonly directories: StatMemory;
}

/** An ignore file that was found and read. */
export interface IgnoreFile {
  /** As it is shown. */
  readonly path: string;
  readonly text: string;
}

export interface DirectoryOptions {
  /** For messages: `context`. */
  readonly name: string;
  readonly ignoreFile?: IgnoreFile | undefined;
  /** Extended attributes of a file by its absolute path, for who can read them (Node cannot); absent: none are kept. */
  readonly xattrs?: (path: string) => ReadonlyMap<string, Uint8Array>;
  /** Loads a faster way to look at many files, where there is one: asked for once there are many. */
  readonly statx?: () => Statx | undefined;
  readonly signal: AbortSignal;
}

/** A downloaded file, in the cache: not to be changed. */
export interface UrlFile {
  readonly path: string;
  /** The last element of the URL's path. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly digest: Digest;
  /** The server's Last-Modified, else the epoch. */
  readonly mtimeNs: bigint;
}

/** What a server said of bytes that it sent. */
export interface DownloadRecord {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** The header as it came. */
  readonly etag?: string;
  /** The header as it came. */
  readonly lastModified?: string;
  /** Whether `lastModified` tells these bytes from later ones. */
  readonly dated: boolean;
}

/** Where downloads are kept from build to build: the store's. */
export interface DownloadCache {
  /** What came from the URL and is still there, newest first. */
  find(url: string): Promise<readonly DownloadRecord[]>;
  /** The file, its bytes verified; `undefined` when they are damaged. */
  open(record: DownloadRecord, signal: AbortSignal): Promise<string | undefined>;
  /** Takes a file over, and returns where it is then. */
  keep(url: string, file: string, record: DownloadRecord): Promise<string>;
}

/** A file of a URL that has been found. */
export interface RemoteFile {
  /** Of the content: the same digest and name are the same file, save for its date. */
  readonly digest: Digest;
  readonly name: string;
  /** The file, once it has been fetched; the same one each time. @throws TsbuildError CONTEXT_UNREADABLE */
  open(): Promise<UrlFile>;
}

/** A git reference whose commit is known. */
export interface GitSource {
  /** Decides what `open` gives, but for the time of the checkout: the commit, the subdir, the options. Nothing secret. */
  readonly identity: string;
  /** The whole id, in hexadecimal digits. */
  readonly commit: string;
  /**
   * Checks it out below the new directory, which disposing the source removes.
   * @throws TsbuildError CONTEXT_UNREADABLE
   */
  open(directory: string): Promise<FileSource>;
}

/** What ADD fetches from elsewhere: each thing is asked for once in a build, whatever needs it. */
export interface RemoteSources {
  /**
   * What the URL names now. With a checksum nobody is asked before `open`.
   * @throws TsbuildError DOCKERFILE_INVALID, CONTEXT_UNREADABLE
   */
  resolveFile(url: string, options: { readonly checksum?: string }): Promise<RemoteFile>;

  /** Whether `--checksum` is one for a URL. @throws TsbuildError DOCKERFILE_INVALID */
  checkUrlChecksum(checksum: string): void;

  /** A word that names a git repository by its spelling. @throws TsbuildError DOCKERFILE_INVALID for one that is malformed */
  parseGit(word: string): GitRef | undefined;
  /**
   * Asks the server which commit is meant. What `keepGitDir` and `checksum` say must agree with the reference.
   * @throws TsbuildError DOCKERFILE_INVALID, CONTEXT_UNREADABLE
   */
  resolveGit(
    ref: GitRef,
    options: { readonly keepGitDir?: boolean; readonly checksum?: string },
  ): Promise<GitSource>;
}
