#!/usr/bin/env python3
"""One process changes a folder step by step; afterwards the folder must be as after one of the steps.

    prefix.py write FOLDER LOG SEED SECONDS   until the time is over or a call fails
    prefix.py verify FOLDER LOG SEED          is it an exact prefix, at least up to the last fsync?

The log is outside of what is tried: "try N" before step N, "synced N" when an fsync after it returned.
What step N does follows from the seed alone, so that verifying plays the same steps in memory.

The kernel hands a write that does not begin at a page to a FUSE daemon as two requests, so the last write may
be there up to a page boundary, here as in any file system whose power fails.
"""
import hashlib
import os
import random
import sys
import time


def steps(seed):
    """Yields (name of the call, arguments) for ever. A step is one system call that changes the tree."""
    rng = random.Random(f"prefix {seed}")
    files, folders, number = [], ["."], 0
    while True:
        number += 1
        what = rng.random()
        if what < 0.3 or len(files) < 4:
            path = f"{rng.choice(folders)}/f{number}"
            files.append(path)
            yield "create", (path,)
            yield "write", (path, 0, rng.choice([1, 4096, 5000, 40000, 120000]), number)
        elif what < 0.5:
            path = rng.choice(files)
            yield "write", (path, rng.randrange(150000), rng.choice([1, 700, 4096, 65536]), number)
        elif what < 0.6:
            yield "truncate", (rng.choice(files), rng.randrange(100000))
        elif what < 0.72:
            old, new = rng.choice(files), f"{rng.choice(folders)}/r{number}"
            if rng.random() < 0.3 and len(files) > 5:  # over another one
                new = rng.choice([path for path in files if path != old])
                files.remove(new)
            files.remove(old)
            files.append(new)
            yield "rename", (old, new)
        elif what < 0.8:
            old, new = rng.choice(files), f"{rng.choice(folders)}/l{number}"
            files.append(new)
            yield "link", (old, new)
        elif what < 0.9 and len(files) > 10:
            path = rng.choice(files)
            files.remove(path)
            yield "unlink", (path,)
        elif what < 0.93 and len(folders) < 20:
            path = f"{rng.choice(folders)}/d{number}"
            folders.append(path)
            yield "mkdir", (path,)
        else:
            yield "sync", (rng.choice(files),)


def data_of(size, number):
    return hashlib.shake_128(f"{number}/{size}".encode()).digest(size)


def carry_out(call, args):
    if call in ("create", "write", "sync"):
        fd = os.open(args[0], os.O_WRONLY | (os.O_CREAT | os.O_EXCL if call == "create" else 0), 0o644)
        try:
            if call == "sync":
                os.fsync(fd)
            elif call == "write":
                data = data_of(*args[2:])
                if os.pwrite(fd, data, args[1]) != len(data):
                    raise OSError("a short write")
        finally:
            os.close(fd)
    else:
        getattr(os, call)(*args)


def play(state, call, args):
    """`state` maps a path to its content, hard links share one; a folder's is None."""
    if call == "create":
        state[args[0]] = bytearray()
    elif call == "write":
        data, content = data_of(*args[2:]), state[args[0]]
        content.extend(bytes(max(0, args[1] - len(content))))
        content[args[1] : args[1] + len(data)] = data
    elif call == "truncate":
        content = state[args[0]]
        content.extend(bytes(max(0, args[1] - len(content))))
        del content[args[1] :]
    elif call == "rename":
        if state[args[0]] is not state.get(args[1]):  # two names of one file: nothing happens
            state[args[1]] = state.pop(args[0])
    elif call == "link":
        state[args[1]] = state[args[0]]
    elif call == "unlink":
        del state[args[0]]
    elif call == "mkdir":
        state[args[0]] = None


def write(folder, log, seed, seconds):
    os.makedirs(folder)
    os.chdir(folder)
    end = time.monotonic() + seconds
    with open(log, "w") as out:
        for number, (call, args) in enumerate(steps(seed), 1):
            if time.monotonic() > end:
                return
            out.write(f"try {number}\n")
            out.flush()
            try:
                carry_out(call, args)
            except OSError as error:
                print(number, call, args, error)
                return
            if call == "sync":
                out.write(f"synced {number}\n")
                out.flush()


def found_in(folder):
    found = {}
    for top, folders, names in os.walk(folder):
        base = os.path.relpath(top, folder)
        base = "." if base == "." else "./" + base
        found.update({f"{base}/{name}": None for name in folders})
        for name in names:
            with open(f"{top}/{name}", "rb") as file:
                found[f"{base}/{name}"] = file.read()
    return found


def bytes_that_differ(have, want):
    at = [i for i, (a, b) in enumerate(zip(have, want)) if a != b]
    zeros = "only zeros" if not any(have[i] for i in at) else "not only zeros"
    return f"{len(at)} of its {len(have)} bytes differ, from {at[0]} to {at[-1]}, {zeros} there"


def difference(state, found):
    for path in sorted(set(state) | set(found)):
        have, want = found.get(path, "nothing"), state.get(path, "nothing")
        if have == want:
            continue
        contents = all(isinstance(x, (bytes, bytearray)) for x in (have, want))
        if contents and len(have) == len(want):
            return f"{path}: {bytes_that_differ(have, want)}"
        size = [len(x) if isinstance(x, (bytes, bytearray)) else x for x in (have, want)]
        return f"{path} has {size[0]}, should have {size[1]}"
    return None


def begun(state, found, call, args):
    """Is it `state`, and the write that comes next up to a page boundary?"""
    if call != "write":
        return False
    content = state[args[0]]
    names = {path for path, other in state.items() if other is content}
    if any(state.get(path) != found.get(path) for path in (set(state) | set(found)) - names):
        return False
    data, start = data_of(*args[2:]), args[1]
    for end in range(start - start % 4096 + 4096, start + len(data), 4096):
        torn = content + bytes(max(0, start - len(content)))
        torn[start:end] = data[: end - start]
        if all(found.get(name) == torn for name in names):
            return True
    return False


def verify(folder, log, seed):
    with open(log) as lines:
        words = [line.split() for line in lines]
    tried = max([int(n) for what, n in words if what == "try"], default=0)
    synced = max([int(n) for what, n in words if what == "synced"], default=0)
    found = found_in(folder) if os.path.isdir(folder) else {}
    state, at_synced = {}, None
    for number, (call, args) in enumerate(steps(seed), 1):
        if number - 1 >= synced and state == found:
            print(f"as after step {number - 1}: {synced} were synced, {tried} tried")
            return 0
        if number - 1 == synced:
            at_synced = difference(state, found)
        if number > tried:
            break
        if number - 1 >= synced and begun(state, found, call, args):
            print(f"as in the middle of step {number}: {synced} were synced, {tried} tried")
            return 0
        play(state, call, args)
    print(f"like none of the steps {synced} to {tried}; compared with step {synced}: {at_synced};",
          f"with step {tried}: {difference(state, found)}")
    return 1


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3], sys.argv[4], float(sys.argv[5]))
else:
    sys.exit(verify(*sys.argv[2:5]))
