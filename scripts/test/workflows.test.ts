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

  test('has a time limit for every job', () => {
    const jobs = lines.slice(lines.indexOf('jobs:')).filter((line) => /^ {2}[\w-]+:$/.test(line))
    expect(lines.filter((line) => /^ {4}timeout-minutes: \d+$/.test(line))).toHaveLength(jobs.length)
  })

  test('has only the permission to read, unless a job asks for more', () => {
    const permissions = lines.findIndex((line) => line.startsWith('permissions:'))
    expect([lines[permissions], lines[permissions + 1]].join(' ').trim()).toMatch(
      /^permissions:(?: \{\}| {3}contents: read)$/,
    )
  })
})

test('the CI workflow runs every part of .ci/run', () => {
  const parts = [...readFileSync(join(root, '.ci/run'), 'utf8').matchAll(/^part_(\w+)\(\)/gm)].map(([, part]) => part)
  expect(parts.length).toBeGreaterThan(0)
  expect(readFileSync(join(folder, 'ci.yml'), 'utf8')).toContain(`part: [${parts.join(', ')}]`)
  expect(readFileSync(join(root, '.ci/run'), 'utf8')).toContain(`parts=(${parts.join(' ')})`)
})
