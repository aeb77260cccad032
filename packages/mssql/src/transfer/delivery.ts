import type { AdapterContext, BackupRequest, Member } from '@taskflow-backup/core'
import type { MadeRow } from '../history.ts'
import type { ScannedFile } from '../jobs.ts'
import type { CheckedOptions } from '../options.ts'
import type { SqlSession } from '../session.ts'
import type { Device } from '../statements/devices.ts'
import { deliverOnServer } from './on-server.ts'
import { deliverByReadBack } from './read-back.ts'
import { deliverThroughFolder } from './shared-folder.ts'

/** One backup on its way from the server. */
export interface Delivery {
  /** Where the server has to write it. */
  readonly devices: readonly Device[]
  /** True when what the server wrote stays where it is. */
  readonly stays: boolean
  /** Yields the members once the server has written them; returns what their headers tell. */
  members(made: MadeBackup): AsyncGenerator<Member, readonly ScannedFile[], void>
  /** Removes what the server wrote. Harmless when there is nothing. `session` is one that still works. */
  discard(session: SqlSession): Promise<void>
}

/** What the server has written. */
export interface MadeBackup {
  readonly session: SqlSession
  readonly row: MadeRow
}

/** What a delivery needs to know. */
export interface DeliveryOrders {
  readonly options: CheckedOptions
  readonly request: BackupRequest
  /** Names temporary files. */
  readonly workId: string
  readonly stripes: number
  readonly ctx: AdapterContext
}

/** The delivery that the options ask for. */
export function createDelivery(orders: DeliveryOrders): Delivery {
  const { transfer } = orders.options
  switch (transfer.type) {
    case 'shared-folder':
      return deliverThroughFolder(orders, transfer)
    case 'read-back':
      return deliverByReadBack(orders, transfer)
    default:
      return deliverOnServer(orders, transfer)
  }
}
