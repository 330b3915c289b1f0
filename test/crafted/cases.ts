/**
 * What an archive can try. Each case says what becomes of it: as an archive that ADD unpacks, and as a layer of a base
 * image. Contained cases have a line of shell, run with `R` as the place that is the archive's root ("" for a layer).
 */
import {
  archive,
  bytesOf,
  directory,
  file,
  gnuSparse,
  hardlink,
  symlink,
  TRAILER,
  type RawEntry,
} from "./tar.js";

/** In the name of everything that should not come out: looked for all over the place afterwards. */
export const PLANTED = "tsbuild-planted";

export interface Contained {
  readonly name: string;
  readonly tar: Buffer;
  /** Fails when the archive was not put where it belongs. */
  readonly check: string;
  /** Only one of them: the other has its own entry, or is refused. */
  readonly only?: "add" | "layer";
}

export interface Refused {
  readonly name: string;
  readonly tar: Buffer;
  /** In the one line of the error. */
  readonly says: RegExp;
  readonly only?: "add" | "layer";
}

const P = PLANTED;
const contained = (
  name: string,
  check: string,
  entries: readonly RawEntry[],
  only?: "add" | "layer",
): Contained => ({
  name,
  check,
  tar: archive(...entries),
  ...(only === undefined ? {} : { only }),
});
const refused = (
  name: string,
  says: RegExp,
  entries: readonly RawEntry[],
  only?: "add" | "layer",
): Refused => ({ name, says, tar: archive(...entries), ...(only === undefined ? {} : { only }) });

/** The longest path that Linux takes has 4,095 bytes. */
const DEEP = `${Array.from({ length: 19 }, (_, i) => String.fromCharCode(97 + i).repeat(200)).join("/")}/${"z".repeat(170)}`;
const HUGE = 1n << 60n;

/** `busybox`: the program, for the layer that hides everything below it. */
export const containedCases = (busybox: Uint8Array): readonly Contained[] => [
  contained("names that climb", `[ -f $R/${P}-1 ] && [ -f $R/${P}-2 ] && [ -f $R/${P}-3 ]`, [
    file(`../${P}-1`),
    file(`a/../../../../../../${P}-2`),
    file(`../../../../../../../../../../../../${P}-3`),
  ]),
  contained("absolute names", `[ -f $R/etc/${P} ] && [ -f $R/${P} ]`, [
    file(`/etc/${P}`),
    file(`//${P}`),
  ]),
  contained("a link that climbs, and a file through it", `[ -f $R/etc/${P} ] && [ -h $R/out ]`, [
    directory("etc"),
    symlink("out", "../../../../../../../../etc"),
    file(`out/${P}`),
  ]),
  contained("an absolute link, and a file through it", `[ -f $R/tmp/${P} ] && [ -h $R/abs ]`, [
    directory("tmp"),
    symlink("abs", "/tmp"),
    file(`abs/${P}`),
  ]),
  contained("links through links", `[ -f $R/tmp/deep/${P} ]`, [
    directory("tmp"),
    directory("d"),
    symlink("d/one", "../two"),
    symlink("two", "/../../three"),
    symlink("three", "d/../../../tmp"),
    file(`d/one/deep/${P}`),
  ]),
  contained(
    "a link to a directory that is replaced by a link",
    `[ -f $R/etc/${P} ] && [ -h $R/d ]`,
    [directory("etc"), directory("d"), file("d/inside"), symlink("d", "/etc"), file(`d/${P}`)],
  ),
  contained(
    "a link that its own file replaces",
    `[ -f $R/${P} ] && [ ! -h $R/${P} ] && [ ! -e $R/${P}-2 ]`,
    [symlink(P, `../../../../../../../tmp/${P}-2`), file(P)],
  ),
  contained("a hard link to a link", `[ -h $R/two ] && [ "$(readlink $R/two)" = /etc/passwd ]`, [
    symlink("one", "/etc/passwd"),
    hardlink("two", "one"),
  ]),
  contained("a hard link whose target climbs to a file of the archive", `[ $R/one -ef $R/${P} ]`, [
    file("one"),
    hardlink(P, "../../../../one"),
  ]),
  contained("a hard link through a link of the archive", `[ $R/d/one -ef $R/${P} ]`, [
    directory("d"),
    file("d/one"),
    symlink("l", "../../../d"),
    hardlink(P, "l/one"),
  ]),
  contained("links that go round, followed by nothing", "[ -h $R/a ] && [ -h $R/self ]", [
    symlink("a", "b"),
    symlink("b", "a"),
    symlink("self", "self"),
  ]),
  contained("a fifo", `[ -p $R/${P} ]`, [{ name: P, flag: "6" }]),
  contained(
    "a newline and a tab in a name",
    `[ -f "$(printf '%s/${P}\\n\\t|' "$R" | tr -d '|')" ]`,
    [file(`${P}\n\t`)],
  ),
  contained("names that are no text", `ls $R | grep -q ${P}`, [
    { name: Buffer.concat([Buffer.from(P), Buffer.of(0xff, 0xfe)]) },
  ]),
  contained("a dot alone as a directory", "[ -d $R/ ] && [ -f $R/beside ]", [
    directory("."),
    directory("./"),
    file("beside"),
  ]),
  contained("two dots alone as a directory", "[ -d $R/ ] && [ -f $R/beside ]", [
    directory(".."),
    directory("a/.."),
    file("beside"),
  ]),
  contained("a path of 4,000 bytes", `[ "$(cd $R/ && find . -name 'zz*' | wc -c)" -gt 3900 ]`, [
    { name: "long", pax: [["path", DEEP.slice(0, 3_990)]], data: "x" },
  ]),
  {
    name: "anything after the end",
    tar: Buffer.concat([
      archive(file(P)),
      Buffer.alloc(700, 0x41),
      bytesOf(file(`${P}-2`)),
      TRAILER,
    ]),
    check: `[ -f $R/${P} ] && [ ! -e $R/${P}-2 ]`,
  },
  contained("records that say nothing", `[ -f $R/${P} ]`, [
    {
      name: P,
      data: "x",
      pax: [
        ["comment", "x".repeat(5_000)],
        ["size", ""],
        ["TSBUILD.odd", "\0"],
      ],
    },
  ]),
  contained(
    "a whiteout through a link of the layer",
    `[ ! -e /etc/shadow ] && [ -f /etc/passwd ]`,
    [symlink("veil", "/etc"), file("veil/.wh.shadow", "")],
    "layer",
  ),
  contained(
    "a whiteout that climbs",
    "[ ! -e /etc/shadow ] && [ -e /etc/passwd ]",
    [file("../../../../etc/.wh.shadow", "")],
    "layer",
  ),
  contained(
    "files that call themselves the root",
    "[ -d $R/ ] && [ -f $R/beside ]",
    [file(""), file("."), symlink("./", "/etc"), file("beside")],
    "add",
  ),
  contained(
    "an opaque root",
    `[ -f /${P} ] && [ ! -e /home ] && [ -x /bin/busybox ]`,
    [
      file(".wh..wh..opq", ""),
      directory("bin"),
      // The layer brings what the check needs.
      { name: "bin/busybox", mode: 0o755, data: busybox },
      symlink("bin/sh", "busybox"),
      file(P),
    ],
    "layer",
  ),
  contained(
    "attributes that the kernel's overlay would obey",
    `[ ! -e /etc/${P} ] && [ -d /d/e ] && [ -f /d/f ]`,
    [
      {
        ...directory("d"),
        pax: [
          ["SCHILY.xattr.user.overlay.redirect", "/etc"],
          ["SCHILY.xattr.user.overlay.opaque", "y"],
          ["SCHILY.xattr.trusted.overlay.redirect", "/etc"],
        ],
      },
      directory("d/e"),
      { ...file("d/f"), pax: [["SCHILY.xattr.user.overlay.metacopy", ""]] },
    ],
    "layer",
  ),
  contained(
    "mount points that are links",
    `[ -d /proc/self ] && [ -c /dev/null ] && [ ! -e /tmp/${P}/resolv.conf ]`,
    [
      symlink("proc", "../../../../../../../../home"),
      symlink("sys", "/../../../var"),
      symlink("etc/resolv.conf", `../../../../../../../tmp/${P}-resolv`),
      symlink("etc/hosts", `/tmp/${P}-hosts`),
    ],
    "layer",
  ),
];

/** Nobody unpacks these. */
export const REFUSED: readonly Refused[] = [
  refused("a hard link to something outside", /"own".*(missing|is not there)/, [
    hardlink("own", "../../../../../../etc/hostname"),
  ]),
  refused("a hard link to an absolute name", /"own".*(missing|is not there)/, [
    hardlink("own", "/etc/hostname"),
  ]),
  refused("a hard link through a link that climbs", /"own".*(missing|is not there)/, [
    symlink("out", "../../../../../../etc"),
    hardlink("own", "out/hostname"),
  ]),
  refused("a hard link to a name that is missing", /"own".*(missing|is not there)/, [
    hardlink("own", "nothing"),
  ]),
  refused("a hard link to a directory", /"own".*is a directory/, [
    directory("d"),
    hardlink("own", "d"),
  ]),
  refused("a file through links that go round", /"a\/x"/, [
    symlink("a", "b"),
    symlink("b", "a"),
    file("a/x"),
  ]),
  refused("a file below a file", /"f\/g".*is no directory/, [file("f"), file("f/g")]),
  refused("a name of 4,000 bytes", /"n+…?".*longer than 255 bytes/, [
    { name: "n", pax: [["path", "n".repeat(4_000)]], data: "x" },
  ]),
  refused("a path of 5,000 bytes", /longer than 4095 bytes/, [
    { name: "n", pax: [["path", `${"d/".repeat(2_500)}f`]], data: "x" },
  ]),
  refused("a NUL in a name", /path record is malformed/, [
    file("first"),
    { name: P, pax: [["path", `${P}\0.txt`]], data: "x" },
  ]),
  refused("a NUL in a link", /linkpath record is malformed/, [
    file("first"),
    { name: P, flag: "2", pax: [["linkpath", "/etc\0/x"]] },
  ]),
  refused("a size beyond 2^63", new RegExp(`size record is malformed.*"${P}"`), [
    file("first"),
    { name: P, pax: [["size", "9223372036854775808"]], data: "x" },
  ]),
  refused("a negative size", new RegExp(`size record is malformed.*"${P}"`), [
    file("first"),
    { name: P, pax: [["size", "-1"]], data: "x" },
  ]),
  refused("a size that is no number", new RegExp(`size record is malformed.*"${P}"`), [
    file("first"),
    { name: P, pax: [["size", "NaN"]], data: "x" },
  ]),
  refused("a negative size in the header", new RegExp(`malformed.*"${P}"`), [
    file("first"),
    { name: P, size: Buffer.alloc(12, 0xff), data: "x" },
  ]),
  refused("a size in the header that is no number", new RegExp(`malformed.*"${P}"`), [
    file("first"),
    { name: P, size: "0000zz00000\0", data: "x" },
  ]),
  refused("a record that is shorter than it says", /extended header is malformed/, [
    file("first"),
    { name: P, pax: Buffer.from("90 path=evil\n") },
  ]),
  refused("a record that is longer than it says", /extended header is malformed/, [
    file("first"),
    { name: P, pax: Buffer.from("7 path=evil\n") },
  ]),
  refused("a record whose length is endless", /extended header is malformed/, [
    file("first"),
    { name: P, pax: Buffer.from(`${"9".repeat(300)} path=evil\n`) },
  ]),
  refused("a wrong checksum", /checksum is wrong/, [
    file("first"),
    { ...file(P), wrongChecksum: true },
  ]),
  {
    name: "an archive that is cut in a file",
    tar: Buffer.concat([
      bytesOf(file("first")),
      bytesOf({ name: P, data: Buffer.alloc(3_000) }),
    ]).subarray(0, 2_560),
    says: new RegExp(`ends in the middle.*"${P}"`),
  },
  {
    name: "an archive that is cut in a header",
    tar: Buffer.concat([bytesOf(file("first")), bytesOf(file(P))]).subarray(0, 1_300),
    says: /ends in the middle/,
  },
  refused("a file that promises 8 EiB", new RegExp(`"${P}"`), [
    file("first"),
    { name: P, pax: [["size", "9007199254740991"]], data: "x" },
  ]),
  refused("a sparse file of 2^60 bytes", new RegExp(`sparse map is malformed|"${P}"`), [
    file("first"),
    gnuSparse(P, HUGE, [[0, 1]], "x"),
  ]),
  refused("a sparse file whose pieces overlap", new RegExp(`sparse map is malformed.*"${P}"`), [
    file("first"),
    gnuSparse(
      P,
      4_096,
      [
        [0, 600],
        [100, 424],
      ],
      Buffer.alloc(1_024),
    ),
  ]),
  refused(
    "a sparse file with a piece behind its end",
    new RegExp(`sparse map is malformed.*"${P}"`),
    [file("first"), gnuSparse(P, 4_096, [[8_192, 512]], Buffer.alloc(512))],
  ),
  refused("a sparse map that promises a billion pieces", /sparse map is malformed/, [
    file("first"),
    {
      name: P,
      pax: [
        ["GNU.sparse.major", "1"],
        ["GNU.sparse.minor", "0"],
        ["GNU.sparse.realsize", "1024"],
      ],
      data: Buffer.from(`1000000000\n0\n1\n${"\0".repeat(1_000)}`),
    },
  ]),
  refused("an unknown kind of entry", new RegExp(`unknown.*"${P}"`), [
    file("first"),
    { name: P, flag: "Z" },
  ]),
  refused("a whiteout of nothing", /names nothing/, [file("a/.wh.", "")], "layer"),
  refused("a whiteout of the directory itself", /names nothing/, [file("a/.wh..", "")], "layer"),
  refused("a whiteout of the parent", /names nothing/, [file("a/.wh...", "")], "layer"),
  refused("a root that is a link", /root can only be a directory/, [symlink(".", "/etc")], "layer"),
  refused("an empty name for a file", /root can only be a directory/, [file("")], "layer"),
  refused("a whiteout in an archive of ADD", /\.wh\./, [file(".wh.etc")], "add"),
];
