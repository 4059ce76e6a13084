/** The two formats of the built-in logger: one JSON object a line, and text for a terminal. */
import { clipText, isError, messageOf } from '../errors.ts'
import { errorFields, type ErrorFields } from '../error-fields.ts'
import { plain } from '../plain.ts'
import { addFields, type Fields } from './fields.ts'
import type { LineLevel } from './levels.ts'

/**
 * Control characters, and characters that change the direction or the lines of a text. Job data and errors may contain them:
 * raw, they would control a terminal or forge lines.
 */
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu
const COLOURS: Record<LineLevel, string> = { debug: '2', info: '36', warn: '33', error: '31' }

/** `time` is in ms since 1970. A field with the name of one that the line has already gets an underscore. */
export function jsonLine(level: LineLevel, fields: Fields, msg: string): string {
  const own = { level, time: Date.now(), msg }
  const added = 'level' in fields || 'time' in fields || 'msg' in fields ? withoutOwn(addFields(own, fields)) : fields
  // Most lines have only short fields, and need no copy.
  const copied: unknown = Object.values(added).every(isShort) ? added : plain(added)
  // Programs and people expect the message at the end.
  const json = JSON.stringify({ level, time: own.time, ...Object(copied), msg })
  return `${json.replaceAll(CONTROLS, (character) => unicodeEscape(character))}\n`
}

function withoutOwn({ level: _level, time: _time, msg: _msg, ...fields }: Fields): Fields {
  return fields
}

/** The lines of stacks are indented: an error's text cannot look like a line of the log. */
export function prettyLine(level: LineLevel, fields: Fields, message: string, colours: boolean): string {
  const paint = (code: string, text: string): string => (colours ? `\u001b[${code}m${text}\u001b[0m` : text)
  const time = new Date().toTimeString().slice(0, 8)
  let line = `${time} ${paint(COLOURS[level], level.padEnd(5))} ${escapeControls(message)}`
  let stacks = ''
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue
    if (isError(value)) {
      const error = errorFields(value)
      const summary = summaryOf(error, level !== 'error')
      if (summary !== message) line += ` ${escapeControls(summary)}`
      if (level === 'error') stacks += stacksOf(error)
    } else {
      const text = typeof value === 'string' ? clipText(value) : (JSON.stringify(plain(value)) ?? 'undefined')
      line += ` ${paint('2', `${escapeControls(key)}=`)}${escapeControls(text)}`
    }
  }
  return `${line}\n${stacks}`
}

/** Shows control characters as escapes: `\n`, `\u001b`. */
function escapeControls(text: string): string {
  return text.replaceAll(CONTROLS, (character) => SHORT_ESCAPES[character] ?? unicodeEscape(character))
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** True for values that `JSON.stringify` writes as they are, and that are short. */
function isShort(value: unknown): boolean {
  if (typeof value === 'string') return value.length <= 1_000
  return typeof value === 'number' || typeof value === 'boolean' || value === undefined || value === null
}

/** The messages of an error and, with `causes`, of its causes, on one line. */
function summaryOf(error: ErrorFields | string, causes: boolean): string {
  if (typeof error === 'string') return messageOf(error)
  const message = messageOf(error.message === '' ? (error.type ?? '') : error.message)
  if (!causes || error.cause === undefined) return message
  const cause = summaryOf(error.cause, true)
  // Many messages of ZyQueue end with the message of their cause.
  return message.includes(cause) ? message : `${message} (cause: ${cause})`
}

function stacksOf(error: ErrorFields | string, label = ''): string {
  if (typeof error === 'string') return block(`${label}${error}`)
  const { type = 'Error', message, stack = `${type}: ${message}`, cause, errors = [] } = error
  const own = block(`${label}${stack}`)
  const inner = errors.map((each) => stacksOf(each, 'error: ')).join('')
  return own + inner + (cause === undefined ? '' : stacksOf(cause, 'cause: '))
}

function block(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => `    ${escapeControls(line)}\n`)
    .join('')
}
