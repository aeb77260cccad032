import { parseArgs } from 'node:util'

export interface TourArguments {
  /** A database of the user's, which is only read. */
  readonly db?: string
  /** Where the tour keeps what it makes. */
  readonly dir?: string
}

export const USAGE = `Usage: npm start [-- --db FILE] [--dir DIR]

Backs a database up while it is written to, proves the backup, damages a copy,
restores, takes the restore back, and shows what a prune would remove.

  --db FILE   use this SQLite database instead of a made-up one. It is only read;
              everything else happens on restored copies. Needs free space of
              about three times its size.
  --dir DIR   work in this folder, which must be empty or not there yet.
              Default: a new folder in the system's temporary folder.
  --help      show this.

Exit codes: 0 all went well, 1 a step failed, 2 bad arguments, 130 interrupted.
NO_COLOR=1 turns colours off.`

/** Reads the command line; a string says what is wrong with it. */
export function readArguments(args: readonly string[]): TourArguments | 'help' | { readonly problem: string } {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { db: { type: 'string' }, dir: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
      allowPositionals: false,
      strict: true,
    })
    if (values.help) return 'help'
    const { db, dir } = values
    if (db === '' || dir === '') return { problem: `--${db === '' ? 'db' : 'dir'} needs a path.` }
    return { ...(db !== undefined && { db }), ...(dir !== undefined && { dir }) }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) }
  }
}
