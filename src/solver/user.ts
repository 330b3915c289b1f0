import { TsbuildError } from "../errors.js";
import { resolvePath } from "../oci/resolve-path.js";
import type { Tree } from "../oci/tree.js";

/** Who a RUN runs as. */
export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** The primary group, then the supplementary ones. */
  readonly groups: readonly number[];
  /** Of the image's passwd; "/" for who is not in it. */
  readonly home: string;
}

/** Whom files belong to. */
export interface ResolvedOwner {
  readonly uid: number;
  readonly gid: number;
  /** Names that the image does not know: they count as 0, as with BuildKit. Worth a warning. */
  readonly unknown: readonly string[];
}

interface PasswdLine {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}
interface GroupLine {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** The kernel keeps the last one for "no id". */
const MAX_ID = 0xffff_fffe;

/**
 * The owner that `--chown=user[:group]` and the user of a WORKDIR name: a number is itself, and without a group its group
 * too; a name has its uid and gid of /etc/passwd, a group's name its gid of /etc/group; `root`, and a user that is left out, is 0 everywhere.
 * @throws TsbuildError DOCKERFILE_INVALID for a name where there is no filesystem yet (FROM scratch)
 */
export function resolveOwner(root: Tree, spec: string): ResolvedOwner {
  const [user, group] = split(spec);
  const unknown: string[] = [];
  const named = [user, group].find((part) => isGiven(part) && readId(part) === undefined);
  if (named !== undefined && root.list("").length === 0) {
    throw new TsbuildError(
      "DOCKERFILE_INVALID",
      `tried to find the owner ${JSON.stringify(spec)}: the stage has no files yet, so no /etc/passwd`,
      { hint: "use numbers" },
    );
  }
  const id = isGiven(user) ? readId(user) : 0;
  const line = id === undefined ? readPasswd(root).find(({ name }) => name === user) : undefined;
  if (id === undefined && line === undefined) unknown.push(user);
  const uid = id ?? line?.uid ?? 0;
  const primary = id ?? line?.gid ?? 0;
  if (group === undefined) return { uid, gid: primary, unknown };
  // "user:" leaves out the group that the colon promises: that is root's.
  const gid =
    group === "" ? 0 : (readId(group) ?? readGroups(root).find(({ name }) => name === group)?.gid);
  if (gid === undefined) unknown.push(group);
  return { uid, gid: gid ?? primary, unknown };
}

/**
 * Who `USER user[:group]` is when a command runs: a user without a group has the groups of /etc/group, one with a group
 * only that; an unknown number has group 0; "" is root.
 * @throws TsbuildError DOCKERFILE_INVALID for an unknown name
 */
export function resolveUser(root: Tree, spec: string): ResolvedUser {
  const [user, group] = split(spec === "" ? "0" : spec);
  const users = readPasswd(root);
  const id = user === "" ? 0 : readId(user, users);
  const line = users.find((one) => (id === undefined ? one.name === user : one.uid === id));
  const uid = id ?? line?.uid;
  if (uid === undefined) throw unknownName("user", user, "passwd");
  const home = line?.home === undefined || line.home === "" ? "/" : line.home;
  if (group !== undefined && group !== "") {
    const groups = readGroups(root);
    const gid = readId(group) ?? groups.find(({ name }) => name === group)?.gid;
    if (gid === undefined) throw unknownName("group", group, "group");
    return { uid, gid, groups: [gid], home };
  }
  const gid = line?.gid ?? 0;
  const supplementary = readGroups(root)
    .filter(({ members }) => line !== undefined && members.includes(line.name))
    .map((one) => one.gid);
  return { uid, gid, groups: [...new Set([gid, ...supplementary])], home };
}

function split(spec: string): readonly [string, string | undefined] {
  const colon = spec.indexOf(":");
  return colon < 0 ? [spec, undefined] : [spec.slice(0, colon), spec.slice(colon + 1)];
}

/** `:group` and `user:` leave one of the two out. */
function isGiven(part: string | undefined): part is string {
  return part !== undefined && part !== "";
}

/** `root` is 0 unless the image says otherwise. */
function readId(text: string, users: readonly PasswdLine[] = []): number | undefined {
  if (text === "root" && !users.some(({ name }) => name === "root")) return 0;
  if (!/^[0-9]+$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

function readPasswd(root: Tree): readonly PasswdLine[] {
  return readLines(root, "etc/passwd").map(([name = "", , uid, gid, , home = ""]) => ({
    name,
    uid: readNumber(uid),
    gid: readNumber(gid),
    home,
  }));
}

function readGroups(root: Tree): readonly GroupLine[] {
  return readLines(root, "etc/group").map(([name = "", , gid, members = ""]) => ({
    name,
    gid: readNumber(gid),
    members: members === "" ? [] : members.split(","),
  }));
}

/** passwd(5), group(5). A link stays inside the root; no file is an empty one. */
function readLines(root: Tree, path: string): readonly (readonly string[])[] {
  const { path: real, entry } = resolvePath(root, path, "follow");
  const bytes = entry === undefined ? undefined : root.read(real);
  return Buffer.from(bytes ?? new Uint8Array(0))
    .toString("utf8")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((line) => line.split(":"));
}

function readNumber(text: string | undefined): number {
  return /^[0-9]+$/.test(text ?? "") ? Number(text) : 0;
}

function unknownName(kind: string, name: string, file: string): TsbuildError {
  return new TsbuildError(
    "DOCKERFILE_INVALID",
    `tried to find the ${kind} ${JSON.stringify(name)}: no matching entries in the image's ${file} file`,
    { hint: `add it to /etc/${file} before USER, or use a number` },
  );
}
