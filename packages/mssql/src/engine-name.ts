/** Name of the engine in manifests and undo records. */
export const ENGINE = 'mssql'
