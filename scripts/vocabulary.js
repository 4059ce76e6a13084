// @ts-check
/**
 * The words that this project's text avoids, and the texts that it looks at: comments, strings for people, documents.
 *
 *   node scripts/vocabulary.js [FILE...]    prints what it finds, with lines
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseSync, Visitor } from 'oxc-parser'
import { root } from './packages.js'

/**
 * What to write instead of an expression. An expression stands here if readers had to read it twice, or if it says
 * something that a plain word says: "if" for a condition, the name of a thing for a pronoun.
 *
 * @type {readonly { readonly pattern: RegExp, readonly instead: string }[]}
 */
const AVOIDED = [
  {
    pattern: /\b(?:whoever|whomever|nobody|somebody|anybody|everybody)\b/gi,
    instead: 'the name of it: the caller, no worker, another process',
  },
  { pattern: /\bwhom?\b/gi, instead: 'the name of it: the worker that, the caller that' },
  { pattern: /\b(?:those|these) (?:that|which)\b|\bthat which\b/gi, instead: 'the name of them: the jobs that' },
  { pattern: /\b(?:is|are|was|were|been) to (?:be|have)\b/gi, instead: 'must, will or should' },
  { pattern: /\bof one's own\b/gi, instead: 'its own' },
  { pattern: /\bso (?:many|much|few)\b(?! (?:as|that)\b)/gi, instead: 'the number, or "this many"' },
  { pattern: /\b(?:condemn|vouch|mend)(?:s|ed|ing)?\b/gi, instead: 'poison, renew, fix' },
  { pattern: /\b(?:guilty|verdicts?)\b/gi, instead: 'culprit, result or decision' },
  { pattern: /\b(?:(?:is|are|was|were) heard of|hears? of|heard of)\b/gi, instead: 'learns, is told' },
  { pattern: /\b(?:tells?|told) (?:of|whom)\b|\bnothing tells\b/gi, instead: 'reports; is unknown' },
  { pattern: /(?:^|[.;:!?] )Where\b(?![^.?!]*\?)/gm, instead: 'If, or When' },
  {
    pattern: /[,;] where (?:it|that|this|there|they|none|one|no|nothing|known|possible|needed|not)\b/gi,
    instead: 'if',
  },
  { pattern: /\bwhere (?:there (?:is|are|was|were)|nothing|none|no)\b/gi, instead: 'if there is' },
  { pattern: /\bbe (?:it|that|they) [a-z]+ or\b|\bwhat is more\b|\bbesides\b/gi, instead: 'also' },
  { pattern: /\b(?:in hand|on (?:its|their) way)\b/gi, instead: 'unsettled, pending, in flight' },
  { pattern: /\banew\b/gi, instead: 'again' },
]

/** The files that hold text for people, as paths from the root. */
export function textFiles() {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root })
  return list
    .toString()
    .split('\n')
    .filter((path) => /\.(?:ts|js|mjs|md)$/.test(path))
    .filter((path) => /^(?:packages|examples|chaos|benchmarks|scripts|docs|\.changeset)\/|^[^/]+\.md$/.test(path))
    .filter((path) => !/CHANGELOG\.md$|^scripts\/(?:test\/)?vocabulary\./.test(path))
}

/**
 * What a file says that it should say in other words, one line each.
 *
 * @param {string} path From the root.
 */
export function findings(path) {
  const source = readFileSync(join(root, path), 'utf8')
  return findingsIn(textsOf(path, source), source)
}

/**
 * How often "where" and "if" stand among a thousand words. Plain text says "if" for a condition; "where" is a place.
 *
 * @param {readonly string[]} paths From the root.
 * @returns {{ where: number, if: number }}
 */
export function densities(paths) {
  const text = paths
    .flatMap((path) => textsOf(path, readFileSync(join(root, path), 'utf8')).map((each) => each.text))
    .join(' ')
  const count = (/** @type {RegExp} */ pattern) => text.match(pattern)?.length ?? 0
  const perThousand = 1_000 / count(/[a-z]+/gi)
  return { where: count(/\bwhere\b/gi) * perThousand, if: count(/\bif\b/gi) * perThousand }
}

/**
 * @param {string} path
 * @param {string} source
 */
function textsOf(path, source) {
  return path.endsWith('.md') ? prose(source) : spoken(path, source)
}

/**
 * As `findings`, for a text that is no file.
 *
 * @param {string} text
 */
export function findingsInText(text) {
  return findingsIn([{ text, start: 0 }], text)
}

/**
 * @param {readonly { readonly text: string, readonly start: number }[]} texts
 * @param {string} source
 */
function findingsIn(texts, source) {
  return texts.flatMap(({ text, start }) =>
    AVOIDED.flatMap(({ pattern, instead }) =>
      [...text.matchAll(pattern)].map((match) => {
        const line = source.slice(0, start + match.index).split('\n').length
        return `${line}: "${match[0].trim()}": write ${instead}`
      }),
    ),
  )
}

/**
 * The comments of a program, and its strings of more than one word.
 *
 * @param {string} path
 * @param {string} source
 */
function spoken(path, source) {
  const { program, comments, errors } = parseSync(path, source)
  if (errors.length > 0) throw new Error(`Cannot parse ${path}: ${errors[0]?.message}`)
  /** @type {{ text: string, start: number }[]} */
  const texts = comments.map(({ value, start }) => ({
    text: value.replaceAll(/^\s*\*/gm, (stars) => ' '.repeat(stars.length)),
    start,
  }))
  const visitor = new Visitor({
    Literal(node) {
      if (typeof node.value === 'string' && /\S\s+\S/.test(node.value))
        texts.push({ text: node.value, start: node.start })
    },
    TemplateElement(node) {
      if (/\S\s+\S/.test(node.value.raw)) texts.push({ text: node.value.raw, start: node.start })
    },
  })
  visitor.visit(program)
  return texts
}

/**
 * A document without its code.
 *
 * @param {string} source
 */
function prose(source) {
  const blank = (/** @type {string} */ code) => code.replaceAll(/[^\n]/g, ' ')
  const text = source.replaceAll(/^(`{3,})[^]*?^\1[ \t]*$/gm, blank).replaceAll(/`[^`\n]*`/g, blank)
  return [{ text, start: 0 }]
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const chosen = process.argv.slice(2)
  for (const path of chosen.length > 0 ? chosen : textFiles()) {
    for (const finding of findings(path)) process.stdout.write(`${path}:${finding}\n`)
  }
}
