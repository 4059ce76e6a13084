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
