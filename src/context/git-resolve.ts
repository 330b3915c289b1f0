import { TsbuildError } from "../errors.js";
import { git, type GitSetting } from "./git-process.js";
import { isCommitId, type GitRef } from "./git-ref.js";

/** What to fetch. */
export type GitTarget =
  /** `name` is the ref's full name on the server, `id` the object that it named when it was asked. */
  | {
      readonly kind: "ref";
      readonly name: string;
      readonly id: string;
      /** The commit, where `id` is an annotated tag's and the server tells. */
      readonly peeled: string | undefined;
      readonly objectFormat: ObjectFormat;
    }
  /** `name`: the ref that the commit is to be called here, when one was given. */
  | {
      readonly kind: "commit";
      readonly id: string;
      readonly name: string | undefined;
      readonly objectFormat: ObjectFormat;
    }
  | { readonly kind: "prefix"; readonly prefix: string; readonly objectFormat: ObjectFormat };

export type ObjectFormat = "sha1" | "sha256";

/** Fewer digits are more likely to be a name than a commit. */
const MIN_PREFIX = 7;
/** What a server may call a branch: it becomes part of a refspec. */
const REF_NAME = /^refs\/(?!.*\.\.)[^\p{Cc} ~^:?*[\\]+$/u;

/**
 * Asks the server what a ref names, once. Of a branch and a tag with the same name the branch is meant, as in git-checkout.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function resolveGitTarget(
  ref: GitRef,
  checksum: string | undefined,
  setting: GitSetting,
): Promise<GitTarget> {
  const name = ref.ref ?? "HEAD";
  if (isCommitId(name)) return commitTarget(name, undefined);
  if (ref.fetchByCommit === true) return namedCommit(ref, checksum, setting);
  const listing = await listRefs(ref.remote, name, setting);
  const refTarget = (full: string, id: string): GitTarget => {
    const peeled = listing.ids.get(`${full}^{}`);
    return { kind: "ref", name: full, id, peeled, objectFormat: objectFormatOf(id) };
  };
  if (name === "HEAD") {
    const id = listing.ids.get("HEAD");
    if (id !== undefined && listing.branch !== undefined) return refTarget(listing.branch, id);
    if (id !== undefined) return commitTarget(id, undefined);
    throw unresolved(setting, "could not find the default branch of the repository");
  }
  for (const full of [
    `refs/${name.replace(/^refs\//, "")}`,
    `refs/heads/${name}`,
    `refs/tags/${name}`,
  ]) {
    const id = listing.ids.get(full);
    if (id !== undefined) return refTarget(full, id);
  }
  if (new RegExp(`^[0-9a-f]{${MIN_PREFIX},64}$`, "i").test(name)) {
    const [first = ""] = listing.ids.values();
    return { kind: "prefix", prefix: name.toLowerCase(), objectFormat: objectFormatOf(first) };
  }
  throw unresolved(setting, `repository does not contain ref ${name}`);
}

function commitTarget(id: string, name: string | undefined): GitTarget {
  return { kind: "commit", id, name, objectFormat: objectFormatOf(id) };
}

function namedCommit(ref: GitRef, checksum: string | undefined, setting: GitSetting): GitTarget {
  if (checksum === undefined) {
    throw unresolved(setting, "fetch-by-commit requires a checksum or a commit SHA ref");
  }
  if (!isCommitId(checksum)) {
    throw unresolved(
      setting,
      `fetch-by-commit requires a full commit SHA checksum, got ${JSON.stringify(checksum)}`,
    );
  }
  if (ref.ref === undefined || ref.ref === "HEAD") return commitTarget(checksum, undefined);
  const full = ref.ref.startsWith("refs/") ? ref.ref : `refs/heads/${ref.ref}`;
  return commitTarget(checksum, full);
}

interface Listing {
  /** Object ids by full name; `HEAD` among them, and with `^{}` behind the name what an annotated tag is of. */
  readonly ids: ReadonlyMap<string, string>;
  /** What HEAD points to, where the server says so. */
  readonly branch: string | undefined;
}

async function listRefs(remote: string, name: string, setting: GitSetting): Promise<Listing> {
  const names = name === "HEAD" ? ["HEAD"] : ["HEAD", name, `${name}^{}`];
  const output = await git(["ls-remote", "--symref", "--", remote, ...names], setting);
  const ids = new Map<string, string>();
  let branch: string | undefined;
  for (const line of output.split("\n")) {
    const [value = "", ref = ""] = line.split("\t");
    if (isCommitId(value)) ids.set(ref, value);
    else if (ref === "HEAD" && value.startsWith("ref: ") && REF_NAME.test(value.slice(5))) {
      branch = value.slice(5);
    }
  }
  return { ids, branch };
}

function objectFormatOf(id: string): ObjectFormat {
  return id.length === 64 ? "sha256" : "sha1";
}

function unresolved(setting: GitSetting, why: string): TsbuildError {
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${setting.shown}: ${why}`);
}
