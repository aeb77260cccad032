import { BackupError } from '../errors.ts'

/**
 * Refuses options that are no object, have a name that is not allowed, or a value that is `undefined`.
 *
 * A misspelt rule or an unset variable must not mean "no such rule": that has cost users of other tools their backups.
 *
 * @throws `OPTIONS_INVALID`
 */
export function checkOptionNames(options: object, allowed: readonly string[], caller: string): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new BackupError('OPTIONS_INVALID', `${caller} needs an object with options.`)
  }
  for (const [name, value] of Object.entries(options)) {
    if (!allowed.includes(name)) {
      throw new BackupError('OPTIONS_INVALID', `${caller} has no option \`${name}\`; it has ${allowed.join(', ')}.`)
    }
    if (value === undefined) {
      throw new BackupError('OPTIONS_INVALID', `${caller} was given \`${name}: undefined\`.`, {
        hint: `Leave \`${name}\` out when it is not wanted; an unset value is refused in case it was meant to be set.`,
      })
    }
  }
}

/**
 * Refuses anything but a valid `Date`.
 *
 * @throws `OPTIONS_INVALID`
 */
export function checkDate(date: Date, name: string): void {
  if (!(date instanceof Date) || Number.isNaN(date.getTime())) {
    throw new BackupError('OPTIONS_INVALID', `${name} is not a valid Date.`)
  }
}
