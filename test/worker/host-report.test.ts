import { expect, test } from "vitest";
import { causeOf, type Refusal } from "../../src/worker/host-causes.js";
import { readHostFacts, type HostFacts } from "../../src/worker/host-report.js";
import { memoryForFiles } from "../../src/worker/memory.js";
import { hidesProc } from "../../src/worker/namespaces.js";
import { shiftedBelow } from "../../src/worker/idmap.js";

const GiB = 1024 ** 3;

/** Kernel files as given; every other one is missing. */
const files =
  (known: Readonly<Record<string, string>>) =>
  (path: string): string | undefined =>
    known[path];

const STATUS = `Name:\tnode
Uid:\t1000\t1000\t1000\t1000
Gid:\t0\t0\t0\t0
CapEff:\t00000000800405fb
NoNewPrivs:\t1
Seccomp:\t2
`;

test("the facts are read from the kernel's own files, and what is missing is absent", () => {
  const facts = readHostFacts(
    "/proc",
    files({
      "/proc/self/status": STATUS,
      "/proc/self/attr/current": "cri-containerd.apparmor.d (enforce)\n",
      "/proc/self/uid_map": "         0     100000      65536\n     65536     200000         10\n",
      "/proc/sys/user/max_user_namespaces": "0\n",
      "/sys/kernel/security/lsm": "capability,apparmor",
    }),
  );
  expect(facts).toMatchObject({
    uid: 1000,
    gid: 0,
    seccomp: "filter",
    noNewPrivileges: true,
    confinement: "cri-containerd.apparmor.d (enforce)",
    securityModules: ["capability", "apparmor"],
    uidMap: "0 100000 65536, 65536 200000 10",
    gidMap: "",
    hidesProc: false,
    sysctls: { "user.max_user_namespaces": "0" },
  });
  expect(facts.capabilities).toEqual(
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP".split(
      " ",
    ),
  );
});

test.each(["unconfined", "unconfined\n", "unconfined_u:unconfined_r:unconfined_t:s0\0", "kernel"])(
  "the label %j confines nothing",
  (label) => {
    const read = files({ "/proc/self/attr/current": label });
    expect(readHostFacts("/", read).confinement).toBe("");
  },
);

const FACTS: HostFacts = {
  uid: 0,
  gid: 0,
  capabilities: ["SETUID", "SETGID"],
  seccomp: "none",
  noNewPrivileges: false,
  confinement: "",
  securityModules: [],
  uidMap: "0 0 4294967295",
  gidMap: "0 0 4294967295",
  hidesProc: true,
  filesystem: "ext4",
  kernel: "6.1.0",
  sysctls: {},
};
const MAP = { uids: [], gids: [] };
const PLAN = { kind: "user", idMap: "x", map: MAP, writer: "direct", singleId: false } as const;

const CASES: readonly (readonly [
  string,
  Pick<Refusal, "step" | "because"> & { readonly facts?: Partial<HostFacts> },
  RegExp,
  RegExp,
])[] = [
  [
    "a seccomp profile",
    {
      step: "namespace",
      because: "unshare: Operation not permitted",
      facts: { seccomp: "filter" },
    },
    /seccomp profile/,
    /seccompProfile: \{type: Unconfined\}/,
  ],
  [
    "AppArmor's deny mount",
    {
      step: "mount",
      because: "mount: permission denied",
      facts: { confinement: "docker-default (enforce)", securityModules: ["apparmor"] },
    },
    /AppArmor profile docker-default/,
    /appArmorProfile: \{type: Unconfined\}/,
  ],
  [
    "SELinux",
    {
      step: "mount",
      because: "mount: permission denied",
      facts: { confinement: "system_u:system_r:container_t:s0", securityModules: ["selinux"] },
    },
    /SELinux confines/,
    /seLinuxOptions/,
  ],
  [
    "the missing SETFCAP",
    { step: "namespace", because: "tried to write the id map of a user namespace: EPERM" },
    /without CAP_SETFCAP uid 0 cannot/,
    /add: \[SETFCAP\]/,
  ],
  [
    "no_new_privs",
    {
      step: "namespace",
      because: "tried to run newuidmap: Operation not permitted",
      facts: { uid: 1000, noNewPrivileges: true },
    },
    /no_new_privs/,
    /allowPrivilegeEscalation: true/,
  ],
  [
    "a store on the container's root",
    { step: "overlay", because: "mount: invalid argument", facts: { filesystem: "overlay" } },
    /an overlay itself/,
    /emptyDir/,
  ],
];

test.each(CASES)(
  "%s is named as the cause, with what a Pod's spec needs",
  (_, given, cause, spec) => {
    const { facts = {}, ...rest } = given;
    const found = causeOf({ ...rest, plan: PLAN, facts: { ...FACTS, ...facts } });
    expect(found?.cause).toMatch(cause);
    expect(found?.podSpec).toMatch(spec);
  },
);

test.each([
  ["user.max_user_namespaces", "0"],
  ["kernel.unprivileged_userns_clone", "0"],
  ["kernel.apparmor_restrict_unprivileged_userns", "1"],
])("the sysctl %s=%s is named, and no Pod's spec is offered", (name, value) => {
  const facts = { ...FACTS, sysctls: { [name]: value } };
  const because = "unshare: Operation not permitted";
  const found = causeOf({ step: "namespace", because, plan: PLAN, facts });
  // A namespace that was made may still have no rights.
  expect(causeOf({ step: "mount", because, plan: PLAN, facts })).toEqual(found);
  expect(found?.cause).toContain(name);
  expect(found?.allowedBy).toContain(`sysctl -w ${name}=`);
  expect(found?.podSpec).toBeUndefined();
});

test("kernels that are too old are named: 5.11 for overlays in namespaces, 6.6 for attributes in a tmpfs", () => {
  const because = "mount: operation not permitted";
  const cause = (facts: Partial<HostFacts>): string | undefined =>
    causeOf({ step: "overlay", because, plan: PLAN, facts: { ...FACTS, ...facts } })?.cause;
  expect(cause({ kernel: "5.10.0-20-amd64" })).toContain("Linux 5.10.0-20-amd64");
  expect(cause({ kernel: "6.5.0", filesystem: "tmpfs" })).toContain("before Linux 6.6");
  expect(cause({ kernel: "6.6.0", filesystem: "tmpfs" })).toBe("the store lies on tmpfs");
});

test("half of the memory may be taken, of the machine's and of every control group's above", () => {
  const meminfo = { "/proc/meminfo": "MemTotal: 99 kB\nMemAvailable:   16777216 kB\n" };
  expect(memoryForFiles(files(meminfo))).toBe(8 * GiB);
  const two = {
    ...meminfo,
    "/proc/self/cgroup": "0::/pod/container\n",
    "/sys/fs/cgroup/pod/container/memory.max": "max\n",
    "/sys/fs/cgroup/pod/memory.max": String(4 * GiB),
  };
  expect(memoryForFiles(files(two))).toBe(2 * GiB);
  const one = {
    ...meminfo,
    "/proc/self/cgroup": "5:cpu,memory:/docker/x\n1:name=systemd:/\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": String(6 * GiB),
  };
  expect(memoryForFiles(files(one))).toBe(3 * GiB);
  expect(memoryForFiles(files({}))).toBe(0);
});

test("a /proc is hidden in part when something covers a piece of it, an empty mount point not counted", () => {
  const line = (path: string): string => `30 20 0:5 / ${path} rw - tmpfs tmpfs rw`;
  expect(
    hidesProc([line("/proc"), line("/proc/sys/fs/binfmt_misc"), line("/sys")].join("\n")),
  ).toBe(false);
  expect(hidesProc([line("/proc"), line("/proc/kcore")].join("\n"))).toBe(true);
  expect(hidesProc(line("/processes/x"))).toBe(false);
});

test("a shifted map takes the usual subordinate ids where they are mapped, else as many as there are without root", () => {
  const range = (inside: number, count: number) => ({ inside, outside: inside, count });
  const usual = { inside: 0, outside: 100_000, count: 65_536 };
  expect(shiftedBelow([range(0, 4_294_967_295)])).toEqual(usual);
  expect(shiftedBelow([range(0, 65_536)])).toEqual({ inside: 0, outside: 1, count: 65_535 });
  expect(shiftedBelow([range(0, 1), range(1, 5000)])).toEqual({
    inside: 0,
    outside: 1,
    count: 5000,
  });
  expect(shiftedBelow([range(0, 1)])).toBeUndefined();
  expect(shiftedBelow([])).toBeUndefined();
});
