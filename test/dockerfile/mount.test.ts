import { describe, expect, test } from "vitest";
import { expandMount, type RunMount, type Scope } from "../../src/dockerfile/index.js";
import { errorsOf, one, parse } from "./support.js";

function mount(options: string): RunMount {
  const [found] = one("RUN", `RUN --mount=${options} true`).mounts;
  if (found === undefined) throw new Error("no mount");
  return found;
}

function expanded(options: string, values: Record<string, string> = {}): Record<string, unknown> {
  const scope: Scope = { escape: "\\", get: (name) => values[name] };
  const { span: _, spec: __, ...rest } = expandMount(mount(options), scope);
  return rest;
}

test.each<[string, Record<string, unknown>]>([
  ["target=/x", { type: "bind", target: "/x", readonly: true }],
  [
    "type=bind,from=a,src=b,dst=/c,rw",
    { type: "bind", from: "a", source: "b", target: "/c", readonly: false },
  ],
  [
    "type=bind,source=b,destination=/c,readwrite=false",
    { type: "bind", source: "b", target: "/c", readonly: true },
  ],
  ["type=bind,rw,ro=true,target=/c", { type: "bind", target: "/c", readonly: true }],
  ["type=cache,target=/c", { type: "cache", target: "/c", readonly: false, sharing: "shared" }],
  [
    "TYPE=Cache,Target=/c,id=i,sharing=LOCKED,from=b,source=s,ro,uid=1,gid=02,mode=0755",
    {
      type: "cache",
      target: "/c",
      id: "i",
      sharing: "locked",
      from: "b",
      source: "s",
      readonly: true,
      uid: 1,
      gid: 2,
      mode: 0o755,
    },
  ],
  ["type=tmpfs,target=/t", { type: "tmpfs", target: "/t" }],
  ["type=tmpfs,target=/t,size=1.5GiB", { type: "tmpfs", target: "/t", size: 1.5 * 2 ** 30 }],
  ["type=tmpfs,target=/t,size=100", { type: "tmpfs", target: "/t", size: 100 }],
  ["type=tmpfs,target=/t,size=64k", { type: "tmpfs", target: "/t", size: 65_536 }],
  ["type=secret,id=s", { type: "secret", id: "s", required: false }],
  ["type=secret,source=s,env=E", { type: "secret", id: "s", env: "E", required: false }],
  ["type=secret,target=/t,required", { type: "secret", target: "/t", required: true }],
  [
    "required=1,type=secret,id=s,mode=400,uid=3,gid=4",
    { type: "secret", id: "s", required: true, mode: 0o400, uid: 3, gid: 4 },
  ],
  ["type=ssh", { type: "ssh", required: false }],
  [
    "type=ssh,id=a,target=/t,required=false,mode=0600",
    { type: "ssh", id: "a", target: "/t", required: false, mode: 0o600 },
  ],
  [`'"target=/a,b",from=x'`, { type: "bind", target: "/a,b", from: "x", readonly: true }],
])("--mount=%s", (options, expected) => expect(expanded(options)).toEqual(expected));

test("values expand when the step runs, those that are no words too", () => {
  const values = { T: "cache", D: "/d", N: "7", M: "700", S: "private", R: "true", Q: '"x' };
  const options = "type=$T,target=$D/x,uid=${N},mode=$M,sharing=$S,ro=$R,id=${NO:-i}$Q,from=a";
  expect(expanded(options, values)).toEqual({
    type: "cache",
    target: "/d/x",
    uid: 7,
    mode: 0o700,
    sharing: "private",
    readonly: true,
    id: 'i"x',
    from: "a",
  });
  expect(expanded("type=tmpfs,target=/t,size=$N$U", { N: "1", U: "m" })).toMatchObject({
    size: 2 ** 20,
  });
  expect(expanded("type=secret,id=s,env=$N", { N: "E" })).toMatchObject({ env: "E" });
});

test("what expands to nothing is not there", () => {
  expect(expanded("type=secret,source=$N,id=i", { N: "" })).toMatchObject({ id: "i" });
  expect(expanded("type=secret,id=$N,source=s", { N: "" })).toMatchObject({ id: "s" });
  expect(expanded("type=ssh,source=$N", { N: "" })).toMatchObject({ type: "ssh" });
  expect(errorsOf(() => expanded("type=secret,source=$N,id=i", { N: "s" }))).toEqual([
    "2:25 both source and id can't be set",
  ]);
});

test("ssh has an id, and no source", () => {
  expect(errorsOf(() => expanded("type=ssh,source=x"))).toEqual([
    "2:22 ssh does not support source",
  ]);
});

test("a value that turns out wrong is refused at its flag", () => {
  const read = (): unknown => expanded("type=cache,target=/c,uid=$N", { N: "x" });
  expect(errorsOf(read)).toEqual(["2:34 invalid value x for uid"]);
  expect(errorsOf(() => expanded("'target=${X:?no X}'"))).toEqual(["2:14 X: no X"]);
  expect(errorsOf(() => expanded("type=$T,target=/", { T: "x" }))[0]).toContain(
    "unsupported mount type",
  );
});

test.each([
  ["type=tmp,target=/x", '2:13 unsupported mount type "tmp" (did you mean tmpfs?)'],
  ["type=nothing,target=/x", '2:13 unsupported mount type "nothing"'],
  ["type=cache,target=/c,sharing=sometimes", '2:34 unsupported sharing value "sometimes"'],
  [
    "type=cache,target=/c,sharing=lock",
    '2:34 unsupported sharing value "lock" (did you mean locked?)',
  ],
  ["target=/c,sharing=locked", "2:23 invalid cache sharing set for bind mount"],
  ["type=secret,id=a,sharing=shared", "2:30 secret mount should not define sharing"],
  ["type=secret,id=a,from=b", "2:30 secret mount should not have a from"],
  ["type=secret", "2:13 invalid secret mount. one of source, target required"],
  ["type=secret,id=a,source=b", "2:30 both source and id can't be set"],
  ["type=cache,target=/c,required", "2:34 unexpected key 'required' for mount type 'cache'"],
  ["type=bind,target=/c,size=1", "2:33 unexpected key 'size' for mount type 'bind'"],
  ["type=bind,target=/c,uid=1", '2:33 uid not allowed for "bind" type mounts'],
  ["type=tmpfs,target=/c,mode=1", '2:34 mode not allowed for "tmpfs" type mounts'],
  ["type=cache,target=/c,mode=8", "2:34 invalid value 8 for mode"],
  ["type=cache,target=/c,uid=-1", "2:34 invalid value -1 for uid"],
  ["type=cache,target=/c,gid=4294967296", "2:34 invalid value 4294967296 for gid"],
  ["target=/c,ro=maybe", "2:23 invalid value for ro: maybe"],
  ["type=tmpfs,target=/c,size=big", "2:34 invalid value for size: big"],
  [
    "from=$x,target=/c",
    "2:13 'from' doesn't support variable expansion, define alias stage instead",
  ],
  ["targt=/c", "2:13 unexpected key 'targt' in 'targt=/c' (did you mean target?)"],
  ["target", "2:13 invalid field 'target' must be a key=value pair"],
  ["type=cache,nonsense,target=/c", "2:24 invalid field 'nonsense' must be a key=value pair"],
  ["", "2:13 failed to parse csv mounts: it is empty"],
  [`'target="/c'`, `2:14 failed to parse csv mounts: bare " in non-quoted field`],
  [`'"target=/c'`, `2:14 failed to parse csv mounts: extraneous or missing " in quoted-field`],
])("--mount=%s is refused", (options, expected) => {
  expect(errorsOf(() => parse(`FROM scratch\nRUN --mount=${options} true`))).toEqual([expected]);
});

test("every wrong mount is reported", () => {
  const text = "FROM scratch\nRUN --mount=type=x \\\n  --mount=nonsense=1 true";
  expect(errorsOf(() => parse(text))).toEqual([
    '2:13 unsupported mount type "x"',
    "3:11 unexpected key 'nonsense' in 'nonsense=1'",
  ]);
});

test("an option that does nothing is a warning", () => {
  const { warnings } = parse("FROM scratch\nRUN --mount=type=tmpfs,target=/t,from=x true");
  expect(warnings.map(({ message }) => message)).toEqual(["from has no effect on a tmpfs mount"]);
});

describe("--network, --security and --device", () => {
  test("are read", () => {
    const run = one(
      "RUN",
      "RUN --network=none --security=insecure --device=a/b=c,required --device=name=x true",
    );
    expect(run).toMatchObject({
      network: { value: "none" },
      security: { value: "insecure" },
      devices: [
        { value: "a/b=c", required: true },
        { value: "x", required: false },
      ],
    });
  });

  test.each([
    ["--network=fake", '2:5 invalid network mode "fake"'],
    ["--security=foo", '2:5 security "foo" is not valid'],
    ["--device=a,b", "2:16 invalid field 'b' must be a key=value pair"],
    ["--device=a,required=x", "2:16 invalid value for required: x"],
    ["--device=a,name=b", "2:16 device name already set to a"],
    ["--device=a,foo=b", "2:16 unexpected key 'foo' in 'foo=b'"],
  ])("%s is refused", (flag, expected) => {
    expect(errorsOf(() => parse(`FROM scratch\nRUN ${flag} true`))).toEqual([expected]);
  });
});
