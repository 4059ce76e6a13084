import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { root } from '../packages.js'
import { publishedTypes, sharedTypeNames } from '../type-names.js'
import { densities, findings, findingsInText, textFiles } from '../vocabulary.js'

const packages = readdirSync(join(root, 'packages')).map((name) => `packages/${name}`)

describe('the text of comments, errors, logs, help and documents', () => {
  test('avoids the words of scripts/vocabulary.js', () => {
    const found = textFiles().flatMap((path) => findings(path).map((finding) => `${path}:${finding}`))
    expect(found).toEqual([])
  })

  test('says "if" for conditions: at most 2 "where" and at least 4 "if" among 1,000 words', () => {
    const { where, if: ifs } = densities(textFiles())
    expect(where).toBeLessThanOrEqual(2)
    expect(ifs).toBeGreaterThanOrEqual(4)
  })

  test.each([
    ['whoever holds the job', 'whoever'],
    ['a job that nobody takes', 'nobody'],
    ['those that wait', 'those that'],
    ['It fails, where there is no queue.', ', where there'],
    ['Where the broker is away, it waits.', 'Where'],
    ['The job is to be run again.', 'is to be'],
    ['the lease is heard of', 'is heard of'],
  ])('%j has a word that is found', (text, word) => {
    expect(findingsInText(text)).toContainEqual(expect.stringContaining(`"${word}"`))
  })

  test('may say the words as they are meant', () => {
    for (const text of ['The folder where the file is.', 'Where is the queue?', 'the workers that hold it']) {
      expect(findingsInText(text)).toEqual([])
    }
  })
})

describe('the names of types', () => {
  test.each(packages)('in %s stand for one type each', (folder) => {
    expect(Object.fromEntries(sharedTypeNames(folder))).toEqual({})
  })

  test('that are published stand for one type in all packages', () => {
    const names = packages.flatMap((folder) => [...publishedTypes(folder)])
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
    expect(names).toContain('Broker')
  })
})
