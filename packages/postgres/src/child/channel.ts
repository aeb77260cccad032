import { Socket } from 'node:net'
import { CHANNEL_FD } from '@taskflow-backup/core'

/** The channel to the parent, for jobs that read from it and write to it. */
export const openChannel = (): Socket =>
  new Socket({ fd: CHANNEL_FD, readable: true, writable: true, allowHalfOpen: true })
