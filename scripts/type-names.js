// @ts-check
/** The names of types: which files declare them, and which of them a package publishes. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { parseSync } from 'oxc-parser'
import { root } from './packages.js'

const TYPE_DECLARATIONS = new Set([
  'ClassDeclaration',
  'TSEnumDeclaration',
  'TSInterfaceDeclaration',
  'TSTypeAliasDeclaration',
])

/**
 * Names that more than one file of a folder's `src` declares as a type, with these files.
 *
 * @param {string} folder From the root, such as `packages/core`.
 * @returns {Map<string, readonly string[]>}
 */
export function sharedTypeNames(folder) {
  /** @type {Map<string, string[]>} */
  const files = new Map()
  for (const path of sources(folder)) {
    for (const name of new Set(declaredTypes(path))) files.set(name, [...(files.get(name) ?? []), path])
  }
  return new Map([...files].filter(([, paths]) => paths.length > 1))
}

/**
 * Names of types that the entries of a package export and that its own files declare.
 *
 * @param {string} folder From the root, such as `packages/core`.
 * @returns {ReadonlySet<string>}
 */
export function publishedTypes(folder) {
  const { exports = {} } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
  const declared = new Set(sources(folder).flatMap(declaredTypes))
  const entries = Object.values(exports)
    .map((entry) => (typeof entry === 'string' ? entry : String(entry.default)))
    .filter((entry) => /^\.\/dist\/.*\.js$/.test(entry))
    .map((entry) => posix.join(folder, entry.replace(/^\.\/dist\//, 'src/').replace(/\.js$/, '.ts')))
  return new Set(entries.flatMap((entry) => [...exportedNames(entry)]).filter((name) => declared.has(name)))
}

/** @param {string} folder */
function sources(folder) {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', `${folder}/src/*.ts`], {
    cwd: root,
  })
  return list.toString().split('\n').filter(Boolean)
}

/** @param {string} path */
function declaredTypes(path) {
  return statements(path).flatMap((statement) => {
    const declaration = 'declaration' in statement && statement.declaration ? statement.declaration : statement
    if (!TYPE_DECLARATIONS.has(declaration.type) || !('id' in declaration)) return []
    return declaration.id && 'name' in declaration.id ? [declaration.id.name] : []
  })
}

/**
 * @param {string} path
 * @returns {Set<string>}
 */
function exportedNames(path) {
  /** @type {Set<string>} */
  const names = new Set()
  for (const statement of statements(path)) {
    if (statement.type === 'ExportAllDeclaration' && statement.source.value.startsWith('.')) {
      for (const name of exportedNames(posix.join(posix.dirname(path), statement.source.value))) names.add(name)
    }
    if (statement.type !== 'ExportNamedDeclaration') continue
    for (const { exported } of statement.specifiers) if ('name' in exported) names.add(exported.name)
    const { declaration } = statement
    if (declaration && 'id' in declaration && declaration.id && 'name' in declaration.id) names.add(declaration.id.name)
  }
  return names
}

/** @param {string} path */
function statements(path) {
  return parseSync(path, readFileSync(join(root, path), 'utf8')).program.body
}
