import type { AdapterContext } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { programEnvironment } from './program-environment.ts'
import { makeWorkFolder, type WorkFolder } from './work-folder.ts'

/** What the programs of one backup or restore share. */
export interface ProgramRun {
  /** Name under which they are connected. */
  readonly applicationName: string
  /** A folder for temporary files, made when it is first asked for. */
  folder(): Promise<string>
  environment(): Promise<Record<string, string>>
  /** Removes the folder. */
  end(): Promise<void>
}

/** @param staging a database that is about to be made: `removeLeftovers` finds it by the folder when we are killed */
export function programRun(settings: ConnectionSettings, ctx: AdapterContext, staging?: string): ProgramRun {
  const applicationName = `taskflow-backup ${ctx.randomId(12)}`
  let made: Promise<WorkFolder> | undefined
  const folder = async (): Promise<string> => {
    const server = `${settings.host}:${settings.port}`
    made ??= makeWorkFolder(ctx, { applicationName, server, ...(staging !== undefined && { staging }) })
    return (await made).path
  }
  return {
    applicationName,
    folder,
    environment: () => programEnvironment(settings, applicationName, folder),
    end: async () => (await made?.catch(() => undefined))?.remove(),
  }
}
