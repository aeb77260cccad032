import { timelineName } from './member-names.ts'

const hex8 = (value: bigint): string => value.toString(16).toUpperCase().padStart(8, '0')

/** Name of the server's file that holds the byte at `lsn` of the log on `timeline`. */
export function segmentName(timeline: number, lsn: bigint, segmentBytes: number): string {
  const segment = lsn / BigInt(segmentBytes)
  const perLog = 0x1_0000_0000n / BigInt(segmentBytes)
  return timelineName(timeline) + hex8(segment / perLog) + hex8(segment % perLog)
}

/** Name of the server's file that tells where a timeline comes from. */
export const historyName = (timeline: number): string => `${timelineName(timeline)}.history`
