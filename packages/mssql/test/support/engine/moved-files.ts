import type { BackupHeader } from './backup-set.ts'
import type { Database, DatabaseFile } from './database.ts'
import { error, fail, OS_ERRORS, SqlError } from './errors.ts'
import type { Execution } from './execution.ts'
import type { RestoreCommand } from './statements.ts'

/**
 * Where the files of the restored database go.
 *
 * @throws 3234, and 1834, 5133, 3156, 3257 before 3119
 */
export function movedFiles(
  { moves, database }: RestoreCommand,
  header: BackupHeader,
  existing: Database | undefined,
  { engine }: Execution,
): DatabaseFile[] {
  for (const logicalName of moves.keys())
    if (!header.files.some((file) => file.logicalName === logicalName))
      throw fail(
        3234,
        `Logical file '${logicalName}' is not part of database '${database}'. Use RESTORE FILELISTONLY to list the logical file names.`,
      )
  const problems: SqlError[] = []
  const files = header.files.map((file) => {
    const physicalName = moves.get(file.logicalName) ?? file.physicalName
    const owner = engine.databases.ownerOf(physicalName)
    if (owner && owner !== existing)
      problems.push(
        fail(1834, `The file '${physicalName}' cannot be overwritten. It is being used by database '${owner.name}'.`),
      )
    else if (!engine.hasFolderOf(physicalName))
      problems.push(
        fail(
          5133,
          `Directory lookup for the file "${physicalName}" failed with the operating system error ${OS_ERRORS.notFound}.`,
        ),
      )
    else return { ...file, physicalName }
    problems.push(
      fail(
        3156,
        `File '${file.logicalName}' cannot be restored to '${physicalName}'. Use WITH MOVE to identify a valid location for the file.`,
      ),
    )
    return file
  })
  const bytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const { freeBytes } = engine.disk
  if (bytes > freeBytes)
    problems.push(
      fail(
        3257,
        `There is insufficient free space on disk volume '/' to create the database. The database requires ${bytes} additional free bytes, while only ${freeBytes} bytes are available.`,
      ),
    )
  if (problems.length === 0) return files
  throw new SqlError(...problems.flatMap(({ messages }) => messages)).followedBy(
    error(
      3119,
      'Problems were identified while planning for the RESTORE statement. Previous messages provide details.',
    ),
  )
}
