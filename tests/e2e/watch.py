#!/usr/bin/env python3
"""watch.py OUT PID DIR: samples until the process is gone or this one is asked to end.

Every 100 ms: the disk that DIR occupies (allocated blocks of everything in it) and the anonymous
memory of PID. Writes the largest of each to OUT as one JSON object, again and again.
"""
import json
import os
import signal
import sys
import time

out, pid, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
seen = {"samples": 0, "disk": 0, "anon": 0, "hwm": 0}
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(True))


def disk(path):
    total = 0
    for entry in os.scandir(path):
        try:
            total += entry.stat(follow_symlinks=False).st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                total += disk(entry.path)
        except FileNotFoundError:  # it went meanwhile
            pass
    return total


def memory():
    found = {}
    with open(f"/proc/{pid}/status") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("RssAnon", "VmHWM"):
                found[name] = int(value.split()[0]) * 1024
    return found.get("RssAnon", 0), found.get("VmHWM", 0)


while not ending:
    try:
        anon, hwm = memory()
    except (FileNotFoundError, ProcessLookupError):
        break
    seen["samples"] += 1
    seen["disk"] = max(seen["disk"], disk(folder))
    seen["anon"], seen["hwm"] = max(seen["anon"], anon), max(seen["hwm"], hwm)
    with open(out + ".new", "w") as file:
        json.dump(seen, file)
    os.rename(out + ".new", out)
    time.sleep(0.1)
