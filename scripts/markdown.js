// @ts-check
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './packages.js'

/**
 * A fenced block of a document that tests check. Its info string, after the language, may contain `run` (the block is executed)
 * and a file name (the block is written to this file, which executed blocks of the document can use). TypeScript with either
 * is type-checked. `scripts/test/packages.test.ts` follows the blocks with `quick-start` in an empty project. Blocks without
 * these words are not checked.
 *
 * @typedef {{ language: string, run: boolean, quickStart: boolean, file: string | undefined, code: string, line: number }} Block
 */

/** The repository's Markdown files, as paths from its root. */
export function documents() {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], { cwd: root })
  return list
    .toString()
    .split('\n')
    .filter((path) => path !== '' && !path.endsWith('CHANGELOG.md') && !path.startsWith('.changeset/'))
}

/** @param {string} document */
export function read(document) {
  return readFileSync(join(root, document), 'utf8')
}

/**
 * The targets of a text's links, without links to other sites and within the page.
 *
 * @param {string} text
 */
export function relativeLinks(text) {
  const prose = proseOf(text).replaceAll(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g), ...prose.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm)]
    .map(([, target = '']) => target)
    .filter((target) => !/^(?:[a-z][a-z+.-]*:|#|\/\/)/i.test(target))
    .map((target) => decodeURIComponent(target.replace(/[#?].*$/, '')))
}

/**
 * A text without its fenced blocks.
 *
 * @param {string} text
 */
export function proseOf(text) {
  return fences(text).reduce((rest, { source }) => rest.replace(source, ''), text)
}

/**
 * The blocks that are checked.
 *
 * @param {string} text
 * @returns {Block[]}
 */
export function checkedBlocks(text) {
  return blocks(text).filter(({ run, file }) => run || file !== undefined)
}

/**
 * The blocks with `quick-start`, in their order: files to write and commands to type.
 *
 * @param {string} text
 * @returns {Block[]}
 */
export function quickStart(text) {
  return blocks(text).filter(({ quickStart }) => quickStart)
}

/**
 * @param {string} text
 * @returns {Block[]}
 */
function blocks(text) {
  return fences(text).map(({ info, code, line }) => {
    const [language = '', ...words] = info.split(/\s+/)
    const file = words.find((word) => word.includes('.'))
    return { language, run: words.includes('run'), quickStart: words.includes('quick-start'), file, code, line }
  })
}

/**
 * All fenced blocks. A block ends with a fence of the same length, so a longer fence may contain shorter ones.
 *
 * @param {string} text
 */
function fences(text) {
  return [...text.matchAll(/^(`{3,})([^`\n]*)\n([^]*?)^\1[ \t]*$/gm)].map(
    ({ 0: source, 2: info = '', 3: code = '', index }) => ({
      source,
      info: info.trim(),
      code,
      line: text.slice(0, index).split('\n').length,
    }),
  )
}
