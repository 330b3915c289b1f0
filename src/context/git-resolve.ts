import { TsbuildError } from "../errors.js";
import { git, type GitSetting } from "./git-process.js";
import { isCommitId, type GitRef } from "./git-ref.js";

/** What to fetch. */
export type GitTarget =
  /** `name` is the ref's full name on the server. */
  | { readonly kind: "ref"; readonly name: string; readonly objectFormat: ObjectFormat }
  /** `name`: the ref that the commit is to be called here, when one was given. */
  | {
      readonly kind: "commit";
      readonly commit: string;
      readonly name?: string;
      readonly objectFormat: ObjectFormat;
    }
  | { readonly kind: "prefix"; readonly prefix: string; readonly objectFormat: ObjectFormat };

export type ObjectFormat = "sha1" | "sha256";

/** Fewer digits are more likely to be a name than a commit. */
const MIN_PREFIX = 7;
/** What a server may call a branch: it becomes part of a refspec. */
const REF_NAME = /^refs\/(?!.*\.\.)[^\p{Cc} ~^:?*[\\]+$/u;

/**
 * Asks the server what a ref names. Of a branch and a tag with the same name the branch is meant, as in git-checkout.
 * @throws TsbuildError CONTEXT_UNREADABLE
 */
export async function resolveGitTarget(
  ref: GitRef,
  checksum: string | undefined,
  setting: GitSetting,
): Promise<GitTarget> {
  const name = ref.ref ?? "HEAD";
  if (isCommitId(name)) {
    return { kind: "commit", commit: name, objectFormat: objectFormatOf(name) };
  }
  if (ref.fetchByCommit === true) return commitTarget(ref, checksum, setting);
  const listing = await listRefs(ref.remote, name, setting);
  const first = [...listing.ids.values()][0] ?? "";
  const objectFormat = objectFormatOf(first);
  if (name === "HEAD") {
    const commit = listing.ids.get("HEAD");
    if (listing.branch !== undefined) return { kind: "ref", name: listing.branch, objectFormat };
    if (commit !== undefined && isCommitId(commit)) return { kind: "commit", commit, objectFormat };
    throw unresolved(setting, "could not find the default branch of the repository");
  }
  const found = [`refs/${name.replace(/^refs\//, "")}`, `refs/heads/${name}`, `refs/tags/${name}`]
    .filter((candidate) => listing.ids.has(candidate))
    .at(0);
  if (found !== undefined) return { kind: "ref", name: found, objectFormat };
  if (new RegExp(`^[0-9a-f]{${MIN_PREFIX},64}$`, "i").test(name)) {
    return { kind: "prefix", prefix: name.toLowerCase(), objectFormat };
  }
  throw unresolved(setting, `repository does not contain ref ${name}`);
}

function commitTarget(ref: GitRef, checksum: string | undefined, setting: GitSetting): GitTarget {
  if (checksum === undefined) {
    throw unresolved(setting, "fetch-by-commit requires a checksum or a commit SHA ref");
  }
  if (!isCommitId(checksum)) {
    throw unresolved(
      setting,
      `fetch-by-commit requires a full commit SHA checksum, got ${JSON.stringify(checksum)}`,
    );
  }
  const target = {
    kind: "commit",
    commit: checksum,
    objectFormat: objectFormatOf(checksum),
  } as const;
  if (ref.ref === undefined || ref.ref === "HEAD") return target;
  return { ...target, name: ref.ref.startsWith("refs/") ? ref.ref : `refs/heads/${ref.ref}` };
}

interface Listing {
  /** Object ids by full name; `HEAD` among them. */
  readonly ids: ReadonlyMap<string, string>;
  /** What HEAD points to, where the server says so. */
  readonly branch: string | undefined;
}

async function listRefs(remote: string, name: string, setting: GitSetting): Promise<Listing> {
  const names = name === "HEAD" ? ["HEAD"] : ["HEAD", name];
  const output = await git(["ls-remote", "--symref", "--", remote, ...names], setting);
  const ids = new Map<string, string>();
  let branch: string | undefined;
  for (const line of output.split("\n")) {
    const [value = "", ref = ""] = line.split("\t");
    if (!value.startsWith("ref: ")) ids.set(ref, value);
    else if (ref === "HEAD" && REF_NAME.test(value.slice(5))) branch = value.slice(5);
  }
  ids.delete("");
  return { ids, branch };
}

function objectFormatOf(id: string): ObjectFormat {
  return id.length === 64 ? "sha256" : "sha1";
}

function unresolved(setting: GitSetting, why: string): TsbuildError {
  return new TsbuildError("CONTEXT_UNREADABLE", `tried to fetch ${setting.shown}: ${why}`);
}
