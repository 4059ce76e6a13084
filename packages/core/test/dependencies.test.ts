import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

/** The packages that core may depend on. A change that adds one must state the reason. */
const ALLOWED = ['@standard-schema/spec', 'zod']

/** Modules that open connections, which only brokers may do. */
const FORBIDDEN = ['net', 'tls', 'http', 'https', 'http2', 'dgram', 'sqlite'].map((name) => `node:${name}`)

const folder = join(import.meta.dirname, '..')
const files = readdirSync(join(folder, 'src'), { recursive: true, encoding: 'utf8' }).filter((path) =>
  path.endsWith('.ts'),
)
const imports = files.flatMap((file) => {
  const text = readFileSync(join(folder, 'src', file), 'utf8')
  const statements = text.matchAll(/^(?:import|export)\s+(?:[\w\s{},*$]*?\sfrom\s+)?['"]([^'"]+)['"]/gm)
  const calls = text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g)
  return [...statements, ...calls].map(({ 1: specifier = '' }) => ({ file, specifier }))
})

describe('core', () => {
  test('has source files', () => {
    expect(imports.map(({ specifier }) => specifier)).toContain('../error-codes.ts')
  })

  test('depends on the allow-list only', () => {
    const manifest: Record<string, object | undefined> = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const names = ['dependencies', 'peerDependencies', 'optionalDependencies'].flatMap((key) =>
      Object.keys(manifest[key] ?? {}),
    )
    expect(names.filter((name) => !ALLOWED.includes(name))).toEqual([])
  })

  test('imports its own files, built-ins and the allow-list only', () => {
    const others = imports.filter(
      ({ specifier }) =>
        !specifier.startsWith('.') &&
        !isBuiltin(specifier) &&
        !ALLOWED.some((name) => specifier === name || specifier.startsWith(`${name}/`)),
    )
    expect(others).toEqual([])
  })

  test('imports built-ins with their prefix, and none that opens a connection', () => {
    const builtins = imports.filter(({ specifier }) => isBuiltin(specifier))
    expect(builtins.filter(({ specifier }) => !specifier.startsWith('node:') || FORBIDDEN.includes(specifier))).toEqual(
      [],
    )
  })

  test('names brokers only in the table of schemes', () => {
    const named = files.filter((file) => /\b(?:redis|rabbitmq|amqp|gearman)\b/i.test(withoutComments(file)))
    expect(named.filter((file) => file !== 'connection/discovery.ts')).toEqual([])
  })
})

function withoutComments(file: string): string {
  return readFileSync(join(folder, 'src', file), 'utf8').replaceAll(/\/\*[^]*?\*\/|\/\/[^\n]*/g, '')
}
