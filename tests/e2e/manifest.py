#!/usr/bin/env python3
"""Prints everything that a faithful copy of a tree keeps, one line an entry, sorted by name.

usage: manifest.py DIR

Fields: name, type and mode, owner, group, links, size, mtime in ns, then the symlink's target, the
content's SHA-256, and for a file with several names the first of them.
"""
import hashlib
import os
import stat
import sys


def digest(path):
    total = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def walk(top):
    """Yields every path below top, and top itself, as bytes relative to it."""
    for folder, folders, files in os.walk(top, onerror=raise_it):
        folders.sort()
        relative = os.path.relpath(folder, top)
        yield relative
        for name in sorted(files + [d for d in folders if os.path.islink(os.path.join(folder, d))]):
            yield os.path.normpath(os.path.join(relative, name))


def raise_it(error):
    raise error


def main():
    top = os.fsencode(sys.argv[1])
    groups = {}
    for name in sorted(walk(top)):
        path = os.path.join(top, name)
        info = os.lstat(path)
        kind = stat.S_IFMT(info.st_mode)
        is_dir = kind == stat.S_IFDIR
        fields = [f"{info.st_mode:o}", str(info.st_uid), str(info.st_gid), str(info.st_nlink),
                  "-" if is_dir else str(info.st_size), str(info.st_mtime_ns)]
        if kind == stat.S_IFLNK:
            fields.append(os.fsencode(os.readlink(path)).hex())
        elif kind == stat.S_IFREG:
            fields.append(digest(path))
            if info.st_nlink > 1:
                first = groups.setdefault((info.st_dev, info.st_ino), name)
                fields.append("with " + first.hex())
        sys.stdout.write(repr(name)[1:] + "\t" + " ".join(fields) + "\n")


main()
