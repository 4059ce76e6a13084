/** One dead letter, for people and for programs. */
import { readFailure, type ErrorFields } from '@zyqueue/core'
import type { DeadLetter } from '@zyqueue/core/broker'
import { decodeBody } from './body.ts'

/** The document of one dead letter. The header of core that `task`, `attempts` and `error` come from is left out. */
export function jsonLetter({ id, reason, diedAtMs, headers, body }: DeadLetter): object {
  const failure = readFailure(headers)
  return failure === undefined
    ? { id, reason, diedAtMs, headers, ...decodeBody(body) }
    : { id, reason, diedAtMs, ...failure, headers: othersOf(headers), ...decodeBody(body) }
}

function othersOf(headers: DeadLetter['headers']): DeadLetter['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'zyq-failure'))
}

export function describeLetter({ id, queue, reason, diedAtMs, headers, body }: DeadLetter): string {
  const failure = readFailure(headers)
  const decoded = decodeBody(body)
  const facts = {
    id,
    queue,
    task: failure?.task,
    died: diedAtMs === undefined ? undefined : dateOf(diedAtMs),
    attempts: failure?.attempts,
    reason,
  }
  const shown = failure === undefined ? headers : othersOf(headers)
  return [
    ...Object.entries(facts).flatMap(([name, value]) => (value === undefined ? [] : [line(name, value)])),
    ...(failure?.error === undefined ? [] : ['', ...stackOf(failure.error)]),
    '',
    'headers:',
    ...Object.entries(shown).map(([name, value]) => `  ${visible(name)}: ${visible(value)}`),
    '',
    'data' in decoded ? 'data:' : 'body (base64):',
    ...('data' in decoded ? JSON.stringify(decoded.data, undefined, 2).split('\n') : [decoded.body]).map(visible),
  ].join('\n')
}

/** `2026-12-01 04:45:12 UTC`. */
function dateOf(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').replace(/\..*/, ' UTC')
}

/** How long ago, in one unit: `45s`, `5m`, `3h`, `12d`. */
export function ageOf(ms: number): string {
  const seconds = Math.max(0, Math.floor((Date.now() - ms) / 1_000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  return seconds < 86_400 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`
}

function line(name: string, value: string | number): string {
  return `${`${name}:`.padEnd(10)}${visible(String(value))}`
}

function stackOf(error: ErrorFields | string, label = ''): string[] {
  if (typeof error === 'string') return [visible(label + error)]
  const { type = 'Error', message, code, stack = `${type}: ${message}`, cause, errors = [] } = error
  return [
    ...`${label}${stack}`.split('\n').map(visible),
    ...(code === undefined ? [] : [`    code: ${visible(String(code))}`]),
    ...errors.flatMap((each) => stackOf(each, 'error: ')),
    ...(cause === undefined ? [] : stackOf(cause, 'cause: ')),
  ]
}

/** Other programs choose the texts, so control characters must not control the terminal. */
function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '·')
}
