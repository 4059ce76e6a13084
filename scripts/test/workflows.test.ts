import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { root } from '../packages.js'

const folder = join(root, '.github', 'workflows')

describe.each(readdirSync(folder))('the workflow %s', (name) => {
  const lines = readFileSync(join(folder, name), 'utf8').split('\n')

  test('pins third-party actions to commits', () => {
    const used = lines.filter((line) => /^\s*-?\s*uses:/.test(line))
    expect(used.length).toBeGreaterThan(0)
    expect(used.filter((line) => !/@[0-9a-f]{40} # v\d/.test(line))).toEqual([])
  })

  test('has only the permission to read, unless a job asks for more', () => {
    const permissions = lines.findIndex((line) => line.startsWith('permissions:'))
    expect([lines[permissions], lines[permissions + 1]].join(' ').trim()).toMatch(
      /^permissions:(?: \{\}| {3}contents: read)$/,
    )
  })
})
