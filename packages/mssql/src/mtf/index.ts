export { scanFile } from './scan-file.ts'
export { MtfScanner } from './scanner.ts'
export type { MtfFile } from './types.ts'
