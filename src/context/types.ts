import type { Digest } from "../oci/digest.js";
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
  /** Where there is a faster way than to walk the tree: paths among which are all that could match `pattern` (relative to the directory `base`). Who asks decides by itself, and looks each one up in `tree`. */
  candidates?(base: string, pattern: string): Promise<readonly string[]>;
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
  readonly signal: AbortSignal;
}

/** A downloaded file, in a file of its own. */
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

/** What ADD fetches from elsewhere. */
export interface RemoteSources {
  /** Downloads into the new file `path`. @throws TsbuildError CONTEXT_UNREADABLE */
  file(
    url: string,
    options: { readonly path: string; readonly checksum?: string },
  ): Promise<UrlFile>;

  /** A word that names a git repository by its spelling. @throws TsbuildError DOCKERFILE_INVALID for one that is malformed */
  parseGit(word: string): GitRef | undefined;
  /**
   * Fetches a repository into the new directory `directory`, which disposing the source removes. What `keepGitDir` and
   * `checksum` say must agree with the reference.
   * @throws TsbuildError DOCKERFILE_INVALID, CONTEXT_UNREADABLE
   */
  git(
    ref: GitRef,
    options: {
      readonly directory: string;
      readonly keepGitDir?: boolean;
      readonly checksum?: string;
    },
  ): Promise<FileSource>;
}
