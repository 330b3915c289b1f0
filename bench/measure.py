#!/usr/bin/env python3
"""Runs a command and prints one JSON line: its code, wall and CPU seconds, and the peak memory in bytes of the largest
process among it and the children that were waited for. Its output goes to the file named first.

Usage: measure.py LOG COMMAND...
"""
import json, resource, subprocess, sys, time

with open(sys.argv[1], "wb") as log:
    began = time.monotonic()
    code = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    wall = time.monotonic() - began
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"code": code, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}))
