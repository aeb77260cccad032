/** Whether `pg_dump --format=directory` gives this name to a file: one plain name, never a path. */
export const isDumpFile = (name: string): boolean => /^[A-Za-z0-9_]+(\.[A-Za-z0-9]+)*$/.test(name) && name.length <= 100
