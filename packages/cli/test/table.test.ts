import { expect, test } from 'vitest'
import { table } from '../src/table.ts'

test('columns are as wide as their cells, unknown figures are -, and control characters are replaced', () => {
  const rows = [
    { name: 'naïve', count: 3 },
    { name: '日本', count: undefined },
    { name: 'a\u001b[31m\nb', count: 0 },
  ]
  const text = table(rows, { task: (row) => row.name, queued: (row) => row.count })
  expect(text).toMatchInlineSnapshot(`
    "+----------+--------+
    | task     | queued |
    +----------+--------+
    | naïve    | 3      |
    | 日本     | -      |
    | a·[31m·b | 0      |
    +----------+--------+"
  `)
  expect(table([], { task: () => '' })).toBe('+------+\n| task |\n+------+')
})

test('a cell of any length is cut', () => {
  const [, , , row = ''] = table(['x'.repeat(100_000)], { name: (name) => name }).split('\n')
  expect(row.length).toBeLessThan(2_000)
  expect(row).toContain('…')
})

test('a table fits its width: only the columns that may be cut are, and the widest first', () => {
  const rows = [{ id: 'i'.repeat(28), reason: '日本'.repeat(100), data: 'x'.repeat(60) }]
  const columns = {
    id: (row: (typeof rows)[0]) => row.id,
    reason: (row: (typeof rows)[0]) => row.reason,
    data: (row: (typeof rows)[0]) => row.data,
  }
  const [rule = '', , , row = ''] = table(rows, columns, { width: 80, cut: ['reason', 'data'] }).split('\n')
  expect(rule.length).toBeLessThanOrEqual(80)
  expect(rule.length).toBeGreaterThan(70)
  expect(row).toContain('i'.repeat(28))
  expect(row.match(/…/g)).toHaveLength(2)
  expect(table(rows, columns, { width: 10, cut: ['reason', 'data'] })).toContain('i'.repeat(28))
})
