#!/usr/bin/env python3
"""An SQLite database that is being written when something happens.

    rows.py insert DB            a row a transaction until that fails; prints each row's number and when it
                                 was acknowledged (milliseconds since the system started)
    rows.py check DB AT-LEAST    is it sound, and are there at least so many rows?
"""
import sqlite3
import sys
import time

if sys.argv[1] == "insert":
    db = sqlite3.connect(sys.argv[2], timeout=30)
    # Full leaves out the fsync of the folder when the rollback journal is removed: after a power cut
    # the last row may be taken back.
    db.execute("pragma synchronous = extra")
    db.execute("create table if not exists t (n integer primary key, s text)")
    try:
        while True:
            with db:
                row = db.execute("insert into t (s) values (?)", ("x" * 500,)).lastrowid
            print(row, int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000), flush=True)
    except sqlite3.Error as error:
        sys.exit(f"row {row + 1}: {error}")
db = sqlite3.connect(sys.argv[2])
assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
rows, last = db.execute("select count(*), max(n) from t").fetchone()
print(rows, "rows, the last is", last)
sys.exit(0 if rows >= int(sys.argv[3]) else 1)
