#!/usr/bin/env python3
"""Brings a SQLite database from a full backup to a later state, without taskflow-backup. All files decompressed:

    restore-sqlite-changes.py full.db restored.db log1.changes log2.changes ...
        [--differential differential.changes] [--at 2026-11-22T14:03:11+00:00] [--commit 17]

Logs may come in any order. The format is in format.md. Indexes are checked, and that steps go on from each other; let
SQLite check the result.
"""
import argparse, datetime, hashlib, itertools, json, shutil, struct, sys

MAGIC = b"taskflow-backup changes 1\n"

def read_steps(path):
    """Yields each step with its commits: how many pages there are then, which it wrote, where in file."""
    with open(path, "rb") as file:
        head = file.read(len(MAGIC) + 4)
        if not head.startswith(MAGIC): sys.exit(f"{path}: no list of changes of version 1")
        head += file.read(struct.unpack("<I", head[len(MAGIC):])[0])
        index = json.loads(head[len(MAGIC) + 4:])
        entries = file.read(20 * index["pages"])
        if hashlib.sha256(head + entries).digest() != file.read(32):
            sys.exit(f"{path}: its index is damaged")
        size = index["pageSize"]
        pages = zip(struct.iter_unpack("<I16x", entries), itertools.count(file.tell(), size))
        for step in index["steps"]:
            yield step, [(count, list(itertools.islice(pages, wrote))) for count, wrote in step["commits"]], file, size

def place(path):  # a merged log goes before what it was made of, of which some may still be there
    steps = [step for step, *_ in read_steps(path)]
    return steps[0]["firstCommit"], -steps[-1]["lastCommit"]

def write(database, commits, file, size):
    for page_count, pages in commits:
        database.truncate(page_count * size)  # pages that are added so are zeros
        for (page,), begin in pages:
            file.seek(begin)
            database.seek((page - 1) * size)
            database.write(file.read(size))

parser = argparse.ArgumentParser(usage=__doc__)
for name in ("full", "restored", "--differential", "--at"):
    parser.add_argument(name)
parser.add_argument("logs", nargs="*")
parser.add_argument("--commit", type=int, default=sys.maxsize)
args = parser.parse_args()
at = datetime.datetime.fromisoformat(args.at.replace("Z", "+00:00")) if args.at else None
if at and at.tzinfo is None: sys.exit("--at needs Z for UTC, or an offset like +01:00")
until = at.timestamp() * 1000 if at else sys.maxsize
commit, state, looked_at, differential_at = 0, None, 0, 0
shutil.copyfile(args.full, args.restored)
with open(args.restored, "r+b") as database:
    for step, *changes in read_steps(args.differential) if args.differential else ():
        write(database, *changes)
        differential_at = step["capturedAt"]
    for step, commits, file, size in itertools.chain.from_iterable(map(read_steps, sorted(args.logs, key=place))):
        first, last = step["firstCommit"], step["lastCommit"]
        if last <= commit: continue  # empty, or in a log before this one
        if step["capturedAt"] > until or first > args.commit: break
        if state not in (None, step["before"]):
            sys.exit(f"{file.name}: something is missing before commit {first}")
        if last > args.commit and len(commits) != last - first + 1:
            sys.exit(f"commit {args.commit} is one with others: take {first - 1} or {last}")
        write(database, commits[:args.commit - first + 1], file, size)
        commit, state, looked_at = min(last, args.commit), step["after"], step["lookedAt"]
if args.logs and differential_at > looked_at:
    sys.exit("The differential is later than where the logs were stopped: leave it or the logs away.")
if args.commit not in (sys.maxsize, commit):
    sys.exit(f"commit {args.commit} is not in these files, which end with {commit}")
print(f"{args.restored} is at commit {commit}." if args.logs else f"{args.restored} is made.")
