import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { placeNewFiles } from '../src/restore/files.ts'
import { isDatabaseName, keptDatabaseName, parseKeptName, parseStagingName, stagingName } from '../src/restore/names.ts'

const ID = 'abcdef012345'
const AT = new Date('2026-03-01T12:34:56.789Z')
const names = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 128 })
  .filter((name) => name.length <= 128 && !/\p{Surrogate}/u.test(name))

describe('names of databases that restores make', () => {
  test('tell what they are for', () => {
    expect(stagingName('tasks', ID)).toBe('tasks_taskflow_restore_abcdef012345')
    expect(keptDatabaseName('tasks', AT, ID)).toBe('tasks_taskflow_before_20260301T123456Z_abcdef012345')
  })

  test('are never too long, never cut within a character, and tell their id and the begin of the target', () => {
    fc.assert(
      fc.property(names, (target) => {
        for (const [name, own] of [
          [stagingName(target, ID), parseStagingName(stagingName(target, ID))],
          [keptDatabaseName(target, AT, ID), parseKeptName(keptDatabaseName(target, AT, ID))],
        ] as const) {
          expect(name.length).toBeLessThanOrEqual(128)
          expect(/\p{Surrogate}/u.test(name)).toBe(false)
          expect(own?.workId).toBe(ID)
          expect(target.startsWith(own?.stem ?? '?')).toBe(true)
          expect(own?.isCut || own?.stem === target).toBe(true)
        }
      }),
    )
  })

  test.each(['tasks', 'tasks_taskflow_restore_', 'tasks_taskflow_restore_ABCDEF012345', `_taskflow_restore_${ID}`])(
    '%s is none of ours',
    (name) => {
      expect(parseStagingName(name)).toBeUndefined()
      expect(parseKeptName(name)).toBeUndefined()
    },
  )

  test('are refused when T-SQL cannot say them', () => {
    for (const name of ['', 'a\0', 'a ', 'a\\\nb', 'x'.repeat(129), 7, null]) expect(isDatabaseName(name)).toBe(false)
    for (const name of ["a'b]c", 'ü', ' a', 'x'.repeat(128)]) expect(isDatabaseName(name)).toBe(true)
  })
})

describe('paths of the files of a restored database', () => {
  const server = { dataPath: '/data/', logPath: '/log' }
  const place = (restore: object) =>
    placeNewFiles({ restore: { method: 'swap', ...restore } }, server, { target: 'a/../b c', workId: ID })
  const file = (Type: string, FileId: string) => ({ LogicalName: 'x', PhysicalName: 'C:\\x', Type, FileId })

  test('carry no part of the name that could lead elsewhere, and an ending by their use', () => {
    const files = [file('D', '1'), file('L', '2'), file('D', '3'), file('S', '4')]
    expect(files.map(place({}))).toEqual([
      `/data/a_b_c_${ID}_1.mdf`,
      `/log/a_b_c_${ID}_2.ldf`,
      `/data/a_b_c_${ID}_3.ndf`,
      `/data/a_b_c_${ID}_4`,
    ])
    const there = place({ dataDirectory: 'D:\\Data', logDirectory: 'L:\\' })
    expect(files.slice(0, 2).map(there)).toEqual([`D:\\Data\\a_b_c_${ID}_1.mdf`, `L:\\a_b_c_${ID}_2.ldf`])
  })

  test('need a folder', () => {
    const nowhere = placeNewFiles(
      { restore: { method: 'swap' } },
      { dataPath: null, logPath: null },
      { target: 'a', workId: ID },
    )
    expect(() => nowhere(file('D', '1'))).toThrow(expect.objectContaining({ code: 'TARGET_INVALID' }))
  })
})
