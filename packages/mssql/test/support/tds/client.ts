import sql from 'mssql'

export type PoolConfig = Partial<Omit<sql.config, 'port'>> & { readonly port: number }

/** A pool for a server on 127.0.0.1, not connected yet; without TLS unless `options` say so. */
export function poolFor({ options, ...config }: PoolConfig): sql.ConnectionPool {
  const pool = new sql.ConnectionPool({ server: '127.0.0.1', ...config, options: { encrypt: false, ...options } })
  // A connection that is dropped while idle would otherwise end the process.
  pool.on('error', () => {})
  return pool
}
