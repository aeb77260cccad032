import { readFileSync, statSync } from 'node:fs'

/** Locks that a process holds on a database and on its log's index, as the kernel tells. */
export function locksOf({ pid }: { readonly pid: number }, file: string): string[] {
  const inodes = [file, `${file}-shm`].map((path) => statSync(path).ino)
  return readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/).slice(1))
    .filter((fields) => Number(fields[3 + (fields[0] === '->' ? 1 : 0)]) === pid)
    .filter((fields) => inodes.some((inode) => fields.join(' ').includes(`:${inode} `)))
    .map((fields) => fields.join(' '))
    .sort()
}
