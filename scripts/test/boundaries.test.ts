import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { root } from '../packages.js'

const sources = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts', '*.js'], {
  cwd: root,
})
  .toString()
  .split('\n')
  .filter((path) => path !== '')

/** `packages/core`, `examples/quickstart`, `benchmarks`, `scripts`. */
function home(path: string): string {
  const [top = '', second = ''] = path.split('/')
  return top === 'packages' || top === 'examples' ? `${top}/${second}` : top
}

describe('the folders of this repository', () => {
  test('are imported by package name: no relative import leaves its package', () => {
    const leaving = sources
      .filter((path) => path.includes('/'))
      .flatMap((path) => relativeImports(path).map((target) => ({ path, target })))
      .filter(({ path, target }) => home(target) !== home(path))
    expect(leaving).toEqual([])
  })

  test('have no file with a meaningless name', () => {
    const nameless = sources.filter((path) => /^(?:.*-)?(?:utils?|helpers?|misc|common)\./.test(basename(path)))
    expect(nameless).toEqual([])
  })
})

function relativeImports(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8')
  return [...text.matchAll(/^(?:import|export)\s+(?:[\w\s{},*$]*?\sfrom\s+)?['"](\.[^'"]*)['"]/gm)].map(
    ({ 1: specifier = '' }) => relative(root, resolve(root, dirname(path), specifier)),
  )
}
