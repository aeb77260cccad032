/** `plan_backup_20261122_020000.bak`, `.trn` for a log, with `_1of4` for a stripe. */
export const extensionOf = (kind: string): 'bak' | 'trn' => (kind === 'log' ? 'trn' : 'bak')
