#!/usr/bin/env python3
"""Brings a SQLite database from a full backup to a later state, without taskflow-backup. All files decompressed:

    restore-sqlite-changes.py full.db restored.db log1.changes log2.changes ...
        [--differential differential.changes] [--at 2026-11-22T14:03:11+00:00] [--commit 17]

The format is described in format.md. Each index is checked by its SHA-256, and that each step goes on where the one
before it ends. The hashes of the pages are XXH64, which Python does not have: let SQLite check the result.
"""
import argparse, datetime, hashlib, json, shutil, struct, sys

MAGIC = b"taskflow-backup changes 1\n"

def read_steps(file):
    """Yields each step with the numbers of its pages; the file stands at their images, if the caller reads them all."""
    head = file.read(len(MAGIC) + 4)
    if head[:len(MAGIC)] != MAGIC:
        sys.exit(f"{file.name}: no list of changes of version 1")
    head += file.read(struct.unpack("<I", head[len(MAGIC):])[0])
    index = json.loads(head[len(MAGIC) + 4:])
    entries = file.read(20 * index["pages"])
    if hashlib.sha256(head + entries).digest() != file.read(32):
        sys.exit(f"{file.name}: its index is damaged")
    pages = struct.iter_unpack("<I16x", entries)
    for step in index["steps"]:
        yield index["pageSize"], step, [[next(pages)[0] for _ in range(count)] for _, count in step["commits"]]

def write(database, file, size, page_counts, commits):
    for page_count, pages in zip(page_counts, commits):
        database.truncate(page_count * size)  # pages that are added so are zeros
        for page in pages:
            database.seek((page - 1) * size)
            database.write(file.read(size))

def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("full"); parser.add_argument("restored"); parser.add_argument("logs", nargs="*")
    parser.add_argument("--differential"); parser.add_argument("--at"); parser.add_argument("--commit", type=int)
    args = parser.parse_args()
    limit = datetime.datetime.fromisoformat(args.at.replace("Z", "+00:00")).timestamp() * 1000 if args.at else float("inf")
    last = float("inf") if args.commit is None else args.commit
    shutil.copyfile(args.full, args.restored)
    state, commit, looked_at, differential_at = None, 0, 0, 0
    with open(args.restored, "r+b") as database:
        if args.differential:
            with open(args.differential, "rb") as file:
                for size, step, commits in read_steps(file):
                    write(database, file, size, [count for count, _ in step["commits"]], commits)
                    differential_at = step["capturedAt"]
        for name in args.logs:
            with open(name, "rb") as file:
                for size, step, commits in read_steps(file):
                    first, end = step["firstCommit"], step["lastCommit"]
                    if end <= commit:  # empty, or in a log before this one
                        file.seek(size * sum(map(len, commits)), 1)
                        continue
                    if step["capturedAt"] > limit or first > last:
                        break
                    if state not in (None, step["before"]):
                        sys.exit(f"{name}: something is missing before commit {first}")
                    if end > last and len(commits) != end - first + 1:
                        sys.exit(f"commit {last} is one with others: take {first - 1} or {end}")
                    count = min(len(commits), last - first + 1) if end > last else len(commits)
                    write(database, file, size, [pages for pages, _ in step["commits"]][:count], commits[:count])
                    state, commit, looked_at = step["after"], min(end, last), step["lookedAt"]
                    if commit == last:
                        break
    if differential_at > max(looked_at, 0 if args.logs else differential_at):
        sys.exit("The differential is later than where the logs were stopped: leave it or the logs away.")
    if args.commit not in (None, commit):
        sys.exit(f"commit {args.commit} is not in these files, which end with {commit}")
    print(f"{args.restored} is at commit {commit}." if args.logs else f"{args.restored} is made.")

if __name__ == "__main__":
    main()
