import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { SnapshotDriver } from "../../src/worker/layer-host-types.js";
import { type Bundle, bundleForChildren } from "./snapshot-bundle.js";
import type { Scenario, ScenarioResult, State } from "./snapshot-scenario.js";

/** Whom the child process is: root of this machine, or an ordinary user who is root of a namespace with one id. */
export type Identity = "root" | "single-id";
const ORDINARY_USER = 5151;

/** What a scenario gave, or why it failed. */
export type Outcome = ScenarioResult | { readonly error: string };

/** Runs scenarios in a mount namespace of their own: nothing stays mounted, whatever happens. */
export function playAll(
  bundle: Bundle,
  scenarios: readonly Scenario[],
  identity: Identity,
): readonly Outcome[] {
  return askChild(bundle, scenarios, identity) as Outcome[];
}

/** What the bundle's child process answers to `order`, in a mount namespace of its own. */
export function askChild(bundle: Bundle, order: unknown, identity: Identity): unknown {
  // On the filesystem of this checkout: /tmp may be an overlay itself, which takes no upper directory.
  const cache = join(process.cwd(), "node_modules/.cache");
  mkdirSync(cache, { recursive: true });
  const place = mkdtempSync(join(cache, "tsbuild-scenario-"));
  try {
    const command = [process.execPath, bundle.childFile, place, bundle.threadFile];
    if (identity === "single-id") {
      execFileSync("chown", [`${ORDINARY_USER}:${ORDINARY_USER}`, place]);
      chmodSync(place, 0o755);
    }
    const enter = identity === "root" ? unshareAsRoot : unshareAsUser;
    const output = execFileSync(enter[0], [...enter.slice(1), ...command], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      encoding: "utf8",
      maxBuffer: 1 << 28,
      // Longer than what one argument may be.
      input: JSON.stringify(order),
    });
    return JSON.parse(output) as unknown;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

const unshareAsRoot = ["unshare", "-m", "--propagation", "private"] as const;
const unshareAsUser = [
  "setpriv",
  `--reuid=${ORDINARY_USER}`,
  `--regid=${ORDINARY_USER}`,
  "--clear-groups",
  "unshare",
  "-U",
  "-r",
  "-m",
] as const;

/** Why scenarios cannot be played here as that identity; `undefined` when they can. */
export function unplayable(identity: Identity): string | undefined {
  if (process.getuid?.() !== 0) return "needs root to make a mount namespace";
  const enter = identity === "root" ? unshareAsRoot : unshareAsUser;
  try {
    execFileSync(enter[0], [...enter.slice(1), "test", "-r", join(process.cwd(), "package.json")]);
    return undefined;
  } catch {
    return `${enter.join(" ")} is refused here, or this checkout cannot be read by others`;
  }
}

interface Case {
  readonly name: string;
  readonly base: readonly string[];
  readonly steps: readonly string[];
  /** What the last state has to have, besides being what the layers rebuild: path -> part of its line; `undefined`: absent. */
  readonly expected: Readonly<Record<string, RegExp | undefined>>;
  /** Of the last layer, exactly. */
  readonly names?: readonly string[] | Readonly<Record<SnapshotDriver, readonly string[]>>;
  /** Needs several ids. */
  readonly owners?: true;
}

const TREE = `
mkdir -p usr/bin usr/lib/deep etc var; echo one > etc/one; echo two > etc/two
echo tool > usr/bin/tool; chmod 755 usr/bin/tool; echo lib > usr/lib/deep/lib; ln -s bin/tool usr/link
touch -d "2020-02-03 04:05:06.123456789" etc/one`;

const CASES: readonly Case[] = [
  {
    name: "a new file comes with the directories above it",
    base: [TREE],
    steps: ["echo new > usr/lib/deep/new"],
    expected: { "usr/lib/deep/new": /^100644 0:0 .* size 4 / },
    names: ["usr/", "usr/lib/", "usr/lib/deep/", "usr/lib/deep/new"],
  },
  {
    name: "a file written in place is there with its new content",
    base: [TREE],
    steps: ["echo more >> etc/one"],
    expected: { "etc/one": /size 9/, "etc/two": /size 4/ },
    names: ["etc/", "etc/one"],
  },
  {
    name: "a change of mode alone is a change",
    base: [TREE],
    steps: ["chmod 600 etc/one"],
    expected: { "etc/one": /^100600 .*mtime 1580702706123456789/ },
    names: ["etc/", "etc/one"],
  },
  {
    name: "a change of owner alone is a change",
    base: [TREE],
    steps: ["chown 1234:567 etc/one; chown -h 7:8 usr/link; chown 9:9 var"],
    expected: { "etc/one": /1234:567/, "usr/link": / 7:8 /, var: / 9:9 / },
    names: ["etc/", "etc/one", "usr/", "usr/link", "var/"],
    owners: true,
  },
  {
    name: "attributes are kept, those named like overlay's own as well",
    base: [TREE],
    steps: [
      "setfattr -n user.note -v hello etc/one; setfattr -n user.dir -v x var; setfattr -n user.empty usr/bin/tool",
    ],
    expected: {
      "etc/one": /user\.note=68656c6c6f/,
      var: /user\.dir=78/,
      "usr/bin/tool": /user\.empty=$/,
    },
  },
  {
    name: "file capabilities are kept as bytes",
    base: [`${TREE}\nsetcap cap_net_raw+ep usr/bin/tool`],
    steps: ["cp usr/bin/tool usr/bin/other; setcap cap_net_bind_service=+ep usr/bin/other"],
    expected: {
      "usr/bin/tool": /security\.capability=0100000200200000/,
      "usr/bin/other": /security\.capability=0100000200040000/,
    },
  },
  {
    name: "a deleted file is one whiteout",
    base: [TREE],
    steps: ["rm etc/one"],
    expected: { "etc/one": undefined, "etc/two": /size 4/ },
    names: ["etc/", "etc/.wh.one"],
  },
  {
    name: "a deleted directory becomes one whiteout, not one per file",
    base: [TREE],
    steps: ["rm -r usr/lib"],
    expected: { "usr/lib": undefined, "usr/lib/deep/lib": undefined },
    names: ["usr/", "usr/.wh.lib"],
  },
  {
    name: "a directory deleted and made again shows nothing of what it held",
    base: [TREE],
    steps: ["rm -r usr/lib; mkdir usr/lib; echo x > usr/lib/x"],
    expected: { "usr/lib/deep": undefined, "usr/lib/x": /size 2/ },
    names: {
      overlay: ["usr/", "usr/lib/", "usr/lib/.wh..wh..opq", "usr/lib/x"],
      plain: ["usr/", "usr/lib/", "usr/lib/.wh.deep", "usr/lib/x"],
    },
  },
  {
    name: "a new directory hides nothing, so no layer says it does",
    base: [TREE],
    steps: ["mkdir -p var/a/b; echo x > var/a/b/c"],
    expected: { "var/a/b/c": /size 2/ },
    names: ["var/", "var/a/", "var/a/b/", "var/a/b/c"],
  },
  {
    name: "a directory of an earlier step, deleted and made again, shows nothing of what it held",
    base: [TREE],
    steps: ["mkdir var/a; echo old > var/a/old", "rm -r var/a; mkdir var/a; echo new > var/a/new"],
    expected: { "var/a/old": undefined, "var/a/new": /size 4/ },
  },
  {
    name: "a file takes the place of a directory",
    base: [TREE],
    steps: ["rm -r usr/lib; echo file > usr/lib"],
    expected: { "usr/lib": /^100644/, "usr/lib/deep": undefined },
    names: ["usr/", "usr/lib"],
  },
  {
    name: "a directory takes the place of a file",
    base: [TREE],
    steps: ["rm etc/one; mkdir etc/one; echo x > etc/one/x"],
    expected: { "etc/one": /^40755/, "etc/one/x": /size 2/ },
    names: ["etc/", "etc/one/", "etc/one/x"],
  },
  {
    name: "a symlink takes the place of a directory, and is not followed",
    base: [TREE],
    steps: ["rm -r usr/lib; ln -s ../etc usr/lib"],
    expected: { "usr/lib": /-> \.\.\/etc/, "etc/one": /size 4/ },
    names: ["usr/", "usr/lib"],
  },
  {
    name: "a directory takes the place of a symlink",
    base: [TREE],
    steps: ["rm usr/link; mkdir usr/link; echo x > usr/link/x"],
    expected: { "usr/link": /^40755/, "usr/bin/tool": /size 5/ },
  },
  {
    name: "a renamed file is a new name and a whiteout",
    base: [TREE],
    steps: ["mv etc/one etc/three"],
    expected: { "etc/one": undefined, "etc/three": /size 4/ },
    names: ["etc/", "etc/.wh.one", "etc/three"],
  },
  {
    name: "a renamed directory brings what it holds",
    base: [TREE],
    steps: ["mv usr/lib usr/lib64"],
    expected: { "usr/lib": undefined, "usr/lib64/deep/lib": /size 4/ },
    names: ["usr/", "usr/.wh.lib", "usr/lib64/", "usr/lib64/deep/", "usr/lib64/deep/lib"],
  },
  {
    name: "directories that swapped names have each other's content",
    base: ["mkdir a b; echo 1 > a/f; echo 22 > b/f"],
    steps: ["mv a c; mv b a; mv c b"],
    expected: { "a/f": /size 3/, "b/f": /size 2/, c: undefined },
  },
  {
    name: "a file with several new names is one file",
    base: [TREE],
    steps: ["echo x > var/x; ln var/x var/y; ln var/x etc/z; ln -s x var/s; ln -P var/s var/t"],
    expected: { "var/x": /nlink 3/, "var/y": /same as etc\/z/, "var/t": /same as var\/s/ },
  },
  {
    name: "hard links of a base layer stay together",
    base: ["mkdir d; echo x > d/a; ln d/a d/b; ln d/a c"],
    steps: ["echo y > new"],
    expected: { "d/a": /nlink 3/, "d/b": /same as c/ },
  },
  {
    name: "symlinks keep their text, dangling or absolute, and their time",
    base: [TREE],
    steps: [
      'ln -s /nowhere/at/all var/dangling; ln -s /etc var/abs; touch -h -d "1999-12-31 23:59:59.5" var/abs',
    ],
    expected: {
      "var/dangling": /-> \/nowhere\/at\/all/,
      "var/abs": /mtime 946684799500000000 .*-> \/etc$/,
    },
  },
  {
    name: "fifos are kept, sockets are not",
    base: [TREE],
    steps: [
      `mkfifo -m 640 var/pipe; perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "var/sock", Listen => 1) or die'`,
    ],
    expected: { "var/pipe": /^10640/ },
    names: ["var/", "var/pipe"],
  },
  {
    name: "a sparse file keeps its length and content",
    base: ["truncate -s 3000000 base; printf end >> base; truncate -s 4000000 base"],
    steps: [
      "truncate -s 5000000 sparse; printf middle | dd of=sparse bs=1 seek=2500000 conv=notrunc",
    ],
    expected: { base: /size 4000000/, sparse: /size 5000000/ },
  },
  {
    name: "set-id and sticky bits are kept, with any owner",
    base: [
      "mkdir tmp; chmod 1777 tmp; echo x > su; chmod 4755 su; mkdir g; chmod 2775 g; echo y > g/y",
    ],
    steps: ["echo n > new; chmod 6711 new; mkdir -m 1777 sticky; echo in > g/in"],
    expected: { su: /^104755/, new: /^106711/, sticky: /^41777/, tmp: /^41777/, "g/in": /^100644/ },
  },
  {
    name: "set-id bits and groups of owners other than root are kept",
    base: ["mkdir g; echo x > g/x; chown 33:44 g g/x; chmod 2775 g; chmod 6755 g/x; echo r > g/r"],
    steps: ["echo n > g/n; echo s > g/s; chown 55:66 g/s; chmod 4711 g/s; mkdir g/sub"],
    expected: {
      g: /^42775 33:44/,
      "g/x": /^106755 33:44/,
      "g/n": /^100644 0:44/,
      "g/s": /^104711 55:66/,
      "g/sub": /^42755 0:44/,
    },
    owners: true,
  },
  {
    name: "times keep their nanoseconds, before 1970 and after 2038 as well",
    base: ['echo x > old; touch -d "1960-01-01 00:00:00.000000001" old'],
    steps: [
      'echo y > new; touch -d "2100-01-01 00:00:00.999999999" new; mkdir d; touch -d @7.000000008 d',
    ],
    expected: {
      old: /mtime -315619199999999999/,
      new: /mtime 4102444800999999999/,
      d: /mtime 7000000008/,
    },
  },
  {
    name: "a deep tree is kept",
    base: [TREE],
    steps: [
      "p=var; for i in $(seq 60); do p=$p/directory-number-$i-with-a-long-name; done; mkdir -p $p; echo deep > $p/f; rm -r usr/lib",
    ],
    expected: { "usr/lib": undefined },
  },
  {
    name: "names are bytes: newlines, quotes, invalid UTF-8, surrogates, U+FFFD",
    base: [
      `printf x > "$(printf 'base\\377')"; mkdir "$(printf 'd\\200')"; printf y > "$(printf 'd\\200/in')"`,
    ],
    steps: [
      `mkdir dir; cd dir; for n in 'a\\nb' 'tab\\t' 'back\\\\slash' 'latin\\351' '\\377\\376' 'half\\303' 'fffd\\357\\277\\275' 'fffd\\357\\277\\275\\377' 'emoji\\360\\237\\222\\200' '-dash' '#x' 'sp ace' '*'; do : > "./$(printf -- "$n")"; done; rm "../$(printf 'base\\377')"; : > "../$(printf 'd\\200/new\\201')"; ln -s "$(printf 't\\371')" link`,
    ],
    expected: {
      "base\xff": undefined,
      "d\x80/in": /size 1/,
      "d\x80/new\x81": /size 0/,
      "dir/a\nb": /size 0/,
      "dir/half\xc3": /size 0/,
      "dir/link": /-> t\xf9/,
    },
  },
  {
    name: "an entry that sorts between a directory and what it holds does no harm",
    base: ["mkdir a; echo 1 > a/x; echo 2 > a-b; echo 3 > a.c"],
    steps: ["echo 11 > a/x; echo 22 > a-b; rm a.c; echo n > a/n"],
    expected: { "a/x": /size 3/, "a-b": /size 3/, "a.c": undefined },
    names: ["a/", "a-b", ".wh.a.c", "a/n", "a/x"],
  },
  {
    name: "mode and attributes of the root itself are kept",
    base: [TREE],
    steps: ["chmod 751 .; setfattr -n user.root -v r ."],
    expected: { "": /^40751 .*user\.root=72/ },
    names: ["./"],
  },
  {
    name: "a new time of the root alone is no change",
    base: [TREE],
    steps: ["touch -d @1000000000 ."],
    expected: {},
    names: [],
  },
  {
    name: "what is written, renamed or given a mode and then is as it was, is no change",
    base: [`${TREE}\ntouch -d @1400000000 etc/two etc usr/bin usr/lib usr`],
    steps: [
      "chmod 600 etc/one; chmod 644 etc/one; mv etc/two etc/2; cp -p etc/2 etc/two; rm etc/2; chmod 700 usr/lib; chmod 755 usr/lib; touch -d @1400000000 etc",
    ],
    expected: { "etc/one": /mtime 1580702706123456789/ },
    names: { overlay: [], plain: ["etc/", "etc/one", "etc/two", "usr/", "usr/lib/"] },
  },
  {
    name: "a content that is another of the same length, with the same time, is a change",
    base: [`${TREE}\ntouch -d @1400000000 etc/two`],
    steps: ["echo owt > etc/two; touch -d @1400000000 etc/two"],
    expected: { "etc/two": /mtime 1400000000000000000 size 4/ },
    names: ["etc/", "etc/two"],
  },
  {
    name: "an attribute alone is a change",
    base: [TREE],
    steps: ["setfattr -n user.note -v 1 etc/one; setfattr -n user.note -v 2 var"],
    expected: { "etc/one": /user\.note=31/, var: /user\.note=32/ },
    names: ["etc/", "etc/one", "var/"],
  },
  {
    name: "what one step makes and the next deletes is gone",
    base: [TREE],
    steps: ["echo 1 > var/a; mkdir var/d; echo 2 > var/d/x", "rm -r var/a var/d"],
    expected: { "var/a": undefined, "var/d": undefined, var: /^40755/ },
    names: ["var/", "var/.wh.a", "var/.wh.d"],
  },
  {
    name: "what one step deletes and the next makes again is there",
    base: [TREE],
    steps: ["rm -r usr/lib etc/one", "mkdir usr/lib; echo again > etc/one"],
    expected: { "etc/one": /size 6/, "usr/lib": /^40755/, "usr/lib/deep": undefined },
  },
  {
    name: "a base of several layers with whiteouts and opaque directories is what their tars say",
    base: [
      "mkdir -p a/b c; echo 1 > a/one; echo 2 > a/b/two; echo 3 > c/three; echo 4 > four; chmod 700 c",
      "mkdir -p a/b; : > a/.wh.one; : > a/b/.wh..wh..opq; echo 22 > a/b/zwei; : > .wh.four; mkdir c; chmod 711 c",
      "mkdir c; chmod 711 c; echo 5 > c/five; mkdir four; echo in > four/in",
    ],
    steps: ["echo x > x"],
    expected: {
      "a/one": undefined,
      "a/b/two": undefined,
      "a/b/zwei": /size 3/,
      "c/three": /size 2/,
      "c/five": /size 2/,
      c: /^40711/,
      "four/in": /size 3/,
    },
  },
];

/** Without the root's own time, which no layer carries unless something else of the root changed. */
function settledRoot(state: State): State {
  return { ...state, "": (state[""] ?? "").replace(/ mtime -?\d+/, "") };
}

const OTHERS = {
  nothing: { base: [TREE], steps: ["true", "cat etc/one; ls -R"] },
  scratch: { base: [], steps: ["mkdir a; echo x > a/x"] },
  added: {
    base: [TREE],
    steps: ["echo 1 > var/first"],
    add: ["mkdir -p var; echo copied > var/copied; chmod 750 var; : > var/.wh.first"],
    moreSteps: ["echo 2 > var/second"],
  },
  clamped: {
    base: [TREE],
    steps: [
      "echo x > var/x; ln -s x var/l; mkdir var/d; echo o > var/o; touch -d @1400000000.5 var/o",
    ],
    moreSteps: ["echo y > etc/y"],
    clampMtimeNs: "1500000000000000000",
  },
} satisfies Record<string, Omit<Scenario, "driver">>;

/** Everything that a driver has to do, whatever it is made of. @param mounted Layers are mounted instead of unpacked. */
export function describeSnapshots(
  driver: SnapshotDriver,
  identity: Identity,
  mounted: boolean = false,
): void {
  const because = unplayable(identity);
  const how = mounted ? " with mounted layers" : "";
  const title = `the ${driver} driver${how} as ${identity}${because === undefined ? "" : `: ${because}`}`;
  describe.skipIf(because !== undefined)(title, () => {
    const cases = CASES.filter(({ owners }) => identity === "root" || owners === undefined);
    const results = new Map<string, Outcome>();
    beforeAll(async () => {
      using bundle = await bundleForChildren();
      const plays = new Map<string, Omit<Scenario, "driver">>([
        ...cases.map(({ name, base, steps }) => [name, { base, steps }] as const),
        ...Object.entries(OTHERS),
      ]);
      const common = { driver, mounted, singleId: identity === "single-id" };
      const scenarios = [...plays.values()].map((each) => ({ ...each, ...common }));
      const outcomes = playAll(bundle, scenarios, identity);
      [...plays.keys()].forEach((name, at) => results.set(name, outcomes[at]!));
    });
    const resultOf = (name: string): ScenarioResult => {
      const outcome = results.get(name)!;
      if ("error" in outcome) throw new Error(outcome.error);
      return outcome;
    };

    test.each(cases)("$name", ({ name, expected, names }) => {
      const result = resultOf(name);
      for (const [path, pattern] of Object.entries(expected)) {
        const line = result.live[path];
        if (pattern === undefined) expect(line, path).toBeUndefined();
        else expect(line, path).toMatch(pattern);
      }
      expect(settledRoot(result.rebuilt.overlay)).toEqual(settledRoot(result.live));
      expect(settledRoot(result.rebuilt.plain)).toEqual(settledRoot(result.live));
      const exact = names === undefined || "length" in names ? names : names[driver];
      if (exact !== undefined) expect(result.layers.at(-1)).toEqual(exact);
      expect(result.leftovers).toEqual([]);
    });

    test("a step that changes nothing gives an empty layer, each time", () => {
      const result = resultOf("nothing");
      expect(result.layers).toEqual([[], []]);
      expect(result.uncompressedSizes).toEqual([1024, 1024]);
      expect(settledRoot(result.rebuilt.plain)).toEqual(settledRoot(result.live));
    });

    test("a root without layers starts empty", () => {
      const result = resultOf("scratch");
      expect(Object.keys(result.live)).toEqual(["", "a", "a/x"]);
      expect(result.live[""]).toMatch(/^40755 0:0/);
      expect(settledRoot(result.rebuilt.overlay)).toEqual(settledRoot(result.live));
    });

    test("a layer that is added on top counts as known, and changes after it count", () => {
      const result = resultOf("added");
      expect(result.layers.at(-1)).toEqual(["var/", "var/second"]);
      expect(result.live["var/first"]).toBeUndefined();
      expect(result.live["var"]).toMatch(/^40750/);
      expect(settledRoot(result.rebuilt.overlay)).toEqual(settledRoot(result.live));
      expect(settledRoot(result.rebuilt.plain)).toEqual(settledRoot(result.live));
    });

    test("times later than the clamp become it, in the layer and in the root", () => {
      const { live, rebuilt, layers } = resultOf("clamped");
      for (const path of ["var", "var/x", "var/l", "var/d"]) {
        expect(live[path], path).toContain(`mtime ${OTHERS.clamped.clampMtimeNs}`);
      }
      expect(live["var/o"]).toContain("mtime 1400000000500000000");
      // The last step is clamped after its state was taken.
      const settled = (state: State): [string, string][] =>
        Object.entries(settledRoot(state)).filter(([path]) => !path.startsWith("etc"));
      expect(settled(rebuilt.plain)).toEqual(settled(live));
      expect(settled(rebuilt.overlay)).toEqual(settled(live));
      expect(layers.at(-1)).toEqual(["etc/", "etc/y"]);
    });
  });
}
