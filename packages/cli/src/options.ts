import { resolve } from 'node:path'
import { parseDuration, parseSize } from './units.ts'

/** An option with a text value. An empty value is refused: it is probably a shell variable that was never set. */
export const TEXT = { type: 'string', requiresArg: true, coerce: optional(notEmpty) } as const

/** The options of every command. */
export const GLOBAL_OPTIONS = nameErrors({
  server: {
    alias: 'S',
    ...TEXT,
    coerce: (given: string | undefined): string | undefined => resolveRelative(TEXT.coerce(given)),
    describe: 'Broker: a name such as redis, a package or a path [env ZYQUEUE_SERVER]',
  },
  connection: {
    alias: 'C',
    ...TEXT,
    describe: 'Connection string such as redis://localhost:6379 [env ZYQUEUE_CONNECTION, also with -S]',
  },
  json: { type: 'boolean', default: false, describe: 'Print JSON: data on standard output, errors on standard error' },
} as const)

export interface GlobalArgs {
  readonly server: string | undefined
  readonly connection: string | undefined
  readonly json: boolean
}

export const TASK_FILE = {
  ...TEXT,
  alias: 'f',
  describe: 'TypeScript or JavaScript file that defines the tasks',
} as const

export const NEEDED_TASK_FILE = {
  ...TASK_FILE,
  demandOption: true,
  coerce: (given: string): string => TEXT.coerce(given) ?? given,
} as const

export const YES = {
  alias: 'y',
  type: 'boolean',
  default: false,
  describe: 'Do not ask for confirmation; required without a terminal',
} as const

/** A short option that takes a value, joined with its value. */
const JOINED = /^(-[CSfqw])([^=].*)$/s

/** Splits `-Sredis` into `-S redis`: unless the value is a number, yargs takes each letter for a flag. */
export function splitShortOptions(argv: readonly string[]): readonly string[] {
  return argv.flatMap((word) => JOINED.exec(word)?.slice(1) ?? word)
}

/** A duration of at least `least` ms, and at most 24 days, the longest that a timer of Node can wait, or ten years. */
export function duration(describe: string, least = 0, most: 'timer' | 'years' = 'timer') {
  const mostMs = most === 'timer' ? 2 ** 31 - 1 : 10 * 365 * 86_400_000
  return {
    type: 'string',
    requiresArg: true,
    describe,
    coerce: optional((text: string) => {
      const ms = parseDuration(text)
      if (ms < least) throw new Error(`"${text}" is less than ${least} ms`)
      if (ms > mostMs) throw new Error(`"${text}" is more than ${Math.floor(mostMs / 86_400_000)} days`)
      return ms
    }),
  } as const
}

export function size(describe: string) {
  return { type: 'string', requiresArg: true, describe, coerce: optional(parseSize) } as const
}

/** A whole number of at least `least`. */
export function count(describe: string, least = 1, most = Number.MAX_SAFE_INTEGER) {
  return {
    type: 'string',
    requiresArg: true,
    describe,
    coerce: optional((text: string) => {
      const value = Number(text)
      if (/^\d+$/.test(text) && value >= least && value <= most) return value
      const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
      throw new Error(`"${text}" is not a whole number ${range}`)
    }),
  } as const
}

/** A list of names, separated by commas. */
export function list(describe: string) {
  return {
    type: 'string',
    requiresArg: true,
    describe,
    coerce: optional((text: string): string[] => {
      const names = text
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '')
      notEmpty(names.join())
      return names
    }),
  } as const
}

/** Puts the option's name in front of the errors about its value. */
export function nameErrors<Options extends Readonly<Record<string, object>>>(options: Options): Options
export function nameErrors(options: Readonly<Record<string, { readonly coerce?: (given: never) => unknown }>>): object {
  const entries = Object.entries(options).map(([name, option]) => {
    const { coerce } = option
    if (coerce === undefined) return [name, option]
    const complaining = (given: never): unknown => {
      try {
        return coerce(given)
      } catch (error) {
        throw new Error(`--${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      }
    }
    return [name, { ...option, coerce: complaining }]
  })
  return Object.fromEntries(entries)
}

/** Resolves a relative path against the current folder: brokers are resolved from the task file's folder first. */
function resolveRelative(server: string | undefined): string | undefined {
  return server !== undefined && /^\.\.?\//.test(server) ? resolve(server) : server
}

function notEmpty(text: string): string {
  if (text.trim() === '') throw new Error('the value is empty')
  return text
}

/** yargs also coerces options that were not given, and passes a list if an option was given twice; its types say neither. */
function optional<T>(parse: (text: string) => T): (given: string | undefined) => T | undefined {
  return (given: unknown) => {
    if (given === undefined) return undefined
    if (typeof given !== 'string') throw new Error(`expected one value, not ${JSON.stringify(given)}`)
    return parse(given)
  }
}

/** Leaves out the undefined properties, so that the callee's defaults apply. */
export function withoutUndefined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> }
export function withoutUndefined(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
