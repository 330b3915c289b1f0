#!/usr/bin/env python3
"""Runs a command and prints one JSON line about it: `code`; `wall` and `cpu` in seconds, the latter of every process that
it started; `cpuFrom` (`cgroup`, or `rusage` where no control group can be made); `peak`, the peak memory in bytes of the
largest process; `groupPeak`, that of all of them with their page cache, or null.

Usage: measure.py [--memory-max BYTES] LOG COMMAND...

The command's output goes to LOG. With --memory-max the whole tree, page cache included, gets no more memory; where no
control group with a limit can be made, the exit code is 69. The groups lie below the caller's own and are removed.
"""
import ctypes, json, os, resource, signal, subprocess, sys, time

PR_SET_CHILD_SUBREAPER = 36
ORPHANS_SECONDS = 10
PREFIX = "tsbuild-bench-"


def own_group(controller):
    """The directory of the caller's group: of cgroup v2 when `controller` is "", else of that v1 hierarchy; or None."""
    with open("/proc/self/cgroup") as lines:
        paths = [line.rstrip("\n").split(":", 2) for line in lines]
    path = next((p for _, names, p in paths if controller in names.split(",") and bool(names) == bool(controller)), None)
    if path is None:
        return None
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            left, right = line.rstrip("\n").split(" - ", 1)
            root, point = left.split(" ")[3:5]
            kind, _, options = right.split(" ", 2)
            fits = kind == "cgroup2" if controller == "" else kind == "cgroup" and controller in options.split(",")
            if fits:
                inside = os.path.relpath(path, root) if path.startswith(root) else "."
                return os.path.normpath(os.path.join(point, inside))
    return None


class Group:
    """A control group of our own, with the names that its version gives to what is read."""

    def __init__(self, controller):
        self.path = None
        parent = own_group(controller)
        if parent is None:
            return
        self.remove_stale(parent)
        path = os.path.join(parent, f"{PREFIX}{os.getpid()}")
        try:
            os.mkdir(path)
        except OSError:
            return
        self.path = path

    @staticmethod
    def remove_stale(parent):
        """Those of measurements that were killed; one with processes cannot be removed."""
        for name in os.listdir(parent):
            if name.startswith(PREFIX) and not os.path.exists(f"/proc/{name[len(PREFIX):]}"):
                try:
                    os.rmdir(os.path.join(parent, name))
                except OSError:
                    pass

    def has(self, name):
        return self.path is not None and os.path.exists(os.path.join(self.path, name))

    def read(self, name):
        with open(os.path.join(self.path, name)) as file:
            return file.read()

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as file:
            file.write(str(value))

    def remove(self):
        for _ in range(100):
            if self.path is None or not os.path.exists(self.path):
                return
            try:
                os.rmdir(self.path)
                return
            except OSError:  # a process of it is about to end
                time.sleep(0.05)


def find(groups, name):
    return next((group for group in groups if group.has(name)), None)


def cpu_seconds(groups):
    group = find(groups, "cpuacct.usage")
    if group is not None:
        return int(group.read("cpuacct.usage")) / 1e9
    group = find(groups, "cpu.stat")
    if group is None:
        return None
    fields = dict(line.split() for line in group.read("cpu.stat").splitlines())
    return int(fields["usage_usec"]) / 1e6 if "usage_usec" in fields else None


def group_peak(groups):
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        group = find(groups, name)
        if group is not None:
            return int(group.read(name))
    return None


def limit(groups, most):
    for name in ("memory.limit_in_bytes", "memory.max"):
        group = find(groups, name)
        if group is not None:
            group.write(name, most)
            return True
    return False


def reap_orphans():
    """Waits for what the command left, which came to us; it counts as the command's."""
    end = time.monotonic() + ORPHANS_SECONDS
    while time.monotonic() < end:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)


def main(argv):
    most = None
    if argv and argv[0] == "--memory-max":
        most, argv = int(argv[1]), argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    groups = [group for group in map(Group, ("", "cpuacct", "memory")) if group.path is not None]
    try:
        if most is not None and not limit(groups, most):
            print("no control group with a memory limit can be made here", file=sys.stderr)
            return 69

        def enter():
            for group in groups:
                group.write("cgroup.procs", os.getpid())

        with open(argv[0], "wb") as log:
            began = time.monotonic()
            child = subprocess.Popen(argv[1:], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=enter)
            signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
            code = child.wait()
            wall = time.monotonic() - began
        reap_orphans()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = cpu_seconds(groups)
        waited = usage.ru_utime + usage.ru_stime
        result = {
            "code": code,
            "wall": wall,
            "cpu": waited if cpu is None else cpu,
            "cpuFrom": "rusage" if cpu is None else "cgroup",
            "peak": usage.ru_maxrss * 1024,
            "groupPeak": group_peak(groups),
        }
        print(json.dumps(result))
        return 0
    finally:
        for group in groups:
            group.remove()


sys.exit(main(sys.argv[1:]))
