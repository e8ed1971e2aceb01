#!/usr/bin/env python3
"""sleepers.py OUT HOME: how long tasks sleep where no signal ends them (state D), until asked to end.

Samples every 50 ms every task of the processes whose environment has this HOME, those of one script.
One sleep is the time in which a task is seen in D and does not change. Writes the longest one to OUT as
{"ms": N, "task": "name", "samples": N}, again and again.
"""
import json
import os
import signal
import sys
import time

out, marker = sys.argv[1], f"HOME={sys.argv[2]}".encode()
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
mine, since = {}, {}
worst = {"ms": 0, "task": "", "samples": 0}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def belongs(pid):
    # An exec changes the environment of the process, so that only a yes is remembered.
    if not mine.get(pid):
        mine[pid] = marker in read(f"/proc/{pid}/environ").split(b"\0")
    return mine[pid]


def look(now):
    asleep = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if not belongs(pid):
                continue
            for task in os.listdir(f"/proc/{pid}/task"):
                lines = dict(
                    line.split(":", 1)
                    for line in read(f"/proc/{pid}/task/{task}/status").decode().splitlines()
                )
                if not lines["State"].strip().startswith("D"):
                    continue
                sleep = (task, lines["voluntary_ctxt_switches"])
                asleep.add(sleep)
                ms = int((now - since.setdefault(sleep, now)) * 1000)
                if ms > worst["ms"]:
                    worst.update(ms=ms, task=lines["Name"].strip())
        except (OSError, KeyError, ValueError):  # it ended meanwhile
            continue
    for sleep in set(since) - asleep:
        del since[sleep]


while not ending:
    look(time.monotonic())
    worst["samples"] += 1
    with open(out + ".new", "w") as file:
        json.dump(worst, file)
    os.rename(out + ".new", out)
    time.sleep(0.05)
