import { existsSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'

const tsconfigFile = z.object({
  extends: z.union([z.string().transform((one) => [one]), z.array(z.string())]).default([]),
  references: z.array(z.object({ path: z.string() })).default([]),
  compilerOptions: z
    .object({ emitDecoratorMetadata: z.boolean(), paths: z.record(z.string(), z.unknown()) })
    .partial()
    .default({}),
})

type Options = z.infer<typeof tsconfigFile>['compilerOptions']

/** The tsconfig.json that applies to a source file: the nearest one above it. */
export function nearestTsconfig(source: string): string | undefined {
  for (let folder = dirname(source); ; folder = dirname(folder)) {
    const path = join(folder, 'tsconfig.json')
    if (existsSync(path)) return path
    if (folder === dirname(folder)) return undefined
  }
}

/** Whether `emitDecoratorMetadata` is set in a tsconfig.json or in what it extends. */
export function emitsDecoratorMetadata(tsconfig: string): boolean {
  return optionsOf(tsconfig).emitDecoratorMetadata === true
}

/** The tsconfig that has `paths` for an import, if the given one does not have them and only references that one. */
export function referenceWithPaths(tsconfig: string, specifier: string): string | undefined {
  const folder = dirname(tsconfig)
  return read(tsconfig)
    ?.references.map(({ path }) => resolve(folder, path))
    .map((path) => (statSync(path, { throwIfNoEntry: false })?.isDirectory() ? join(path, 'tsconfig.json') : path))
    .find((path) => Object.keys(optionsOf(path).paths ?? {}).some((pattern) => matches(pattern, specifier)))
}

function matches(pattern: string, specifier: string): boolean {
  const [before = '', after] = pattern.split('*')
  return after === undefined ? specifier === before : specifier.startsWith(before) && specifier.endsWith(after)
}

/** The options of a tsconfig, with the options of the files that it extends. Files that cannot be read have none: the compiler reports them. */
function optionsOf(tsconfig: string, seen: ReadonlySet<string> = new Set()): Options {
  const config = seen.has(tsconfig) ? undefined : read(tsconfig)
  if (config === undefined) return {}
  const inherited = config.extends.map((name) => optionsOf(extended(tsconfig, name), new Set([...seen, tsconfig])))
  return Object.assign({}, ...inherited, config.compilerOptions)
}

function extended(tsconfig: string, name: string): string {
  const candidates = /^[./]/.test(name) ? [name, `${name}.json`].map((one) => resolve(dirname(tsconfig), one)) : []
  const found = candidates.find((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
  if (found !== undefined) return found
  for (const specifier of [name, `${name}.json`, `${name}/tsconfig.json`]) {
    try {
      return createRequire(tsconfig).resolve(specifier)
    } catch {
      // The next form of the name may exist.
    }
  }
  return ''
}

function read(path: string): z.infer<typeof tsconfigFile> | undefined {
  try {
    return tsconfigFile.parse(JSON.parse(withoutComments(readFileSync(path, 'utf8'))))
  } catch {
    return undefined
  }
}

/** The JSON of a tsconfig, which may contain comments and trailing commas. */
function withoutComments(text: string): string {
  const keepStrings = (_match: string, string: string | undefined): string => string ?? ''
  return text
    .replaceAll(/("(?:\\.|[^"\\])*")|\/\/[^\n]*|\/\*[^]*?\*\//g, keepStrings)
    .replaceAll(/("(?:\\.|[^"\\])*")|,(?=\s*[}\]])/g, keepStrings)
}
