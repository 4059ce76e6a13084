import { isBuiltin } from 'node:module'
import { extname, resolve, sep } from 'node:path'
import { ConfigError } from '@zyqueue/core'
import type { ImportKind, OnResolveArgs, Plugin } from 'esbuild-wasm'
import type { Compiler } from './compiler.ts'
import { isInstalled, isScript, isTypeScript } from './files.ts'
import type { Inputs } from './inputs.ts'
import { nearestTsconfig, referenceWithPaths } from './tsconfig.ts'

/**
 * The target of an import in a project file: a `file` of the project, `data` (JSON), which is compiled into the importing
 * file, or a module that `node` resolves itself.
 */
export type Target = { readonly kind: 'file' | 'data'; readonly path: string } | { readonly kind: 'node' }

export interface Import {
  readonly kind: ImportKind
  readonly path: string
}

export interface Graph {
  /** Every project file that the entry imports, directly or not, and the entry itself. */
  readonly files: ReadonlySet<string>
  /** The project files that a file imports. */
  imports(importer: string): readonly Import[]
  target(importer: string, specifier: string, kind: ImportKind): Target | undefined
}

/** Follows the imports of the entry as TypeScript does: with `paths`, without suffixes, and with `.js` for a `.ts` file. */
export async function readGraph(compiler: Compiler, entry: string, { files, missing }: Inputs): Promise<Graph> {
  files.add(entry)
  const targets = new Map<string, Target>()
  const imports = new Map<string, Import[]>()
  const unusable: string[] = []

  const follow: Plugin = {
    name: 'zyqueue-graph',
    setup(build) {
      build.onResolve({ filter: /.*/ }, async (args) => {
        if (args.kind === 'entry-point' || args.pluginData === FROM_PLUGIN) return undefined
        const target = await targetOf(args)
        targets.set(keyOf(args.importer, args.path, args.kind), target)
        if (target.kind === 'node') return { path: args.path, external: true }
        files.add(target.path)
        if (target.kind === 'file') {
          imports.set(args.importer, [...(imports.get(args.importer) ?? []), { kind: args.kind, path: target.path }])
        }
        return target.kind === 'data' || isScript(target.path)
          ? { path: target.path }
          : { path: target.path, external: true }
      })

      async function targetOf({ path, importer, kind, resolveDir, with: attributes }: OnResolveArgs): Promise<Target> {
        if (isBuiltin(path) || /^(data|https?|node):/.test(path)) return { kind: 'node' }
        const found = await build.resolve(path, {
          importer,
          kind,
          resolveDir,
          with: attributes,
          pluginData: FROM_PLUGIN,
        })
        const bare = !/^(\.|\/|[A-Za-z]:\\|file:)/.test(path)
        // An import that cannot be resolved may be optional, so Node reports it when the import runs.
        if (found.errors.length > 0 && !bare && !path.startsWith('file:')) missing.add(resolve(resolveDir, path))
        if (found.errors.length > 0 && bare) {
          const unused = unusedPaths(importer, path)
          if (unused !== undefined) unusable.push(unused)
        }
        if (found.errors.length > 0 || found.external || found.path === '') return { kind: 'node' }
        if (isTypeScript(found.path)) return { kind: 'file', path: found.path }
        if (bare && (found.path.includes(`${sep}node_modules${sep}`) || isInstalled(path, resolveDir))) {
          return { kind: 'node' }
        }
        return { kind: extname(found.path) === '.json' ? 'data' : 'file', path: found.path }
      }
    },
  }

  await compiler.build({
    ...COMMON_OPTIONS,
    entryPoints: [entry],
    format: 'esm',
    plugins: [follow],
  })
  const [message] = unusable
  if (message !== undefined) throw new ConfigError('ZYQ_TASK_FILE', message)
  return {
    files,
    imports: (importer) => imports.get(importer) ?? [],
    target: (importer, specifier, kind) => targets.get(keyOf(importer, specifier, kind)),
  }
}

/** Why an import is not found, if a referenced tsconfig has `paths` for it. */
function unusedPaths(importer: string, specifier: string): string | undefined {
  const tsconfig = isTypeScript(importer) ? nearestTsconfig(importer) : undefined
  const reference = tsconfig && referenceWithPaths(tsconfig, specifier)
  if (tsconfig === undefined || reference === undefined) return undefined
  return `Cannot find ${JSON.stringify(specifier)}, which ${importer} imports: \`paths\` of ${reference} do not apply, because ${tsconfig} references that file and does not extend it. Move \`paths\` to a file that ${tsconfig} extends, or into it.`
}

/** Marks the resolutions that the plugin itself requests, so that it does not handle them again. */
const FROM_PLUGIN = Symbol('zyqueue')

export const COMMON_OPTIONS = {
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20.19',
  conditions: [],
  loader: { '.js': 'jsx' },
  logLevel: 'silent',
  // `sideEffects: false` in the project's package.json must not drop an import that registers tasks.
  ignoreAnnotations: true,
  treeShaking: false,
  // A task is named after its function, and esbuild renames a function that shadows a variable: `hash = queueJob({}, function hash() {})`.
  keepNames: true,
} as const satisfies Parameters<Compiler['build']>[0]

function keyOf(importer: string, specifier: string, kind: ImportKind): string {
  return JSON.stringify([importer, specifier, kind])
}
