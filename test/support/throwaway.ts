/**
 * A container of this machine's own making, in which "/" may be rewritten: an overlay of a given root, in a mount and a
 * pid namespace of its own. Its first process is the command; when that ends, or the test does, the kernel ends
 * everything in it, and its mounts go along. Root only.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { lacksRoot, run, tempDir, type Outcome, type RunOptions } from "./tools.js";

export interface Throwaway extends AsyncDisposable {
  /** Runs a command as the container's first process. What it leaves in "/" is there for the next one. */
  run(argv: readonly string[], options?: ThrowawayOptions): Promise<Outcome>;
  /** What is in "/" that the given root has not, or as it was changed. */
  readonly written: string;
}

export interface ThrowawayOptions extends Pick<RunOptions, "timeoutMs" | "onStart"> {
  readonly env?: Readonly<Record<string, string>>;
  /** Inside; "/" when absent. */
  readonly cwd?: string;
}

const UNSHARE = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--"];
/** Nothing is done to the machine's own root: the script ends at its first failure, before it enters anything. */
const SCRIPT = `set -eu
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
cd "$DIR/root"
mkdir -p proc dev sys etc .old
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs dev -o mode=755
device() { mknod -m 666 "dev/$1" c "$2" "$3"; }
device null 1 3; device zero 1 5; device full 1 7
device random 1 8; device urandom 1 9; device tty 5 0
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
for name in hosts resolv.conf hostname; do
  cat "/etc/$name" >"$DIR/$name"
  [ -e "etc/$name" ] || : >"etc/$name"
  mount --bind "$DIR/$name" "etc/$name"
done
printf '%s' "$VOLUMES" | while IFS='=' read -r path source; do
  mkdir -p ".$path"
  mount --bind "$source" ".$path"
done
pivot_root . .old
cd /
/kaniko/bin/busybox umount -l /.old
/kaniko/bin/busybox rmdir /.old
cd "$CWD"
exec "$@"
`;

/** Why there cannot be one here. */
export function lacksThrowaway(): string | undefined {
  return lacksRoot();
}

/**
 * @param root a directory that stays as it is; it has busybox at /kaniko/bin/busybox
 * @param volumes directories of this machine by their path inside; writable
 */
export async function throwaway(
  root: string,
  volumes: Readonly<Record<string, string>>,
): Promise<Throwaway> {
  const dir = await tempDir("tsbuild-throwaway-");
  for (const name of ["upper", "work", "root"]) await mkdir(join(dir.path, name));
  const lines = Object.entries(volumes).map(([path, source]) => `${path}=${source}\n`);
  const busybox = "/kaniko/bin/busybox";
  return {
    written: join(dir.path, "upper"),
    run: (argv, { env = {}, cwd = "/", ...options } = {}) => {
      const variables = Object.entries({ PATH: "/kaniko/bin", HOME: "/root", ...env });
      const inside = [busybox, "env", "-i", ...variables.map((pair) => pair.join("=")), ...argv];
      return run("unshare", [...UNSHARE, "sh", "-c", SCRIPT, "sh", ...inside], {
        ...options,
        env: {
          PATH: process.env["PATH"],
          CWD: cwd,
          DIR: dir.path,
          LOWER: root,
          VOLUMES: lines.join(""),
        },
      });
    },
    [Symbol.asyncDispose]: async () => {
      await rm(join(dir.path, "upper"), { recursive: true, force: true });
      await dir[Symbol.asyncDispose]();
    },
  };
}
