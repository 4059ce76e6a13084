import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigError } from '@zyqueue/core'
import type { BuildResult, OutputFile, Plugin } from 'esbuild-wasm'
import { z } from 'zod'
import type { Compiler } from './compiler.ts'
import { isTypeScript, packageFormat } from './files.ts'
import type { CompiledFile, CompiledFiles } from './loader-hooks.ts'
import { COMMON_OPTIONS, type Graph } from './graph.ts'
import { emitsDecoratorMetadata, nearestTsconfig } from './tsconfig.ts'

type Format = CompiledFile['format']

/**
 * Compiles each TypeScript file of the graph to a separate module, so that it keeps its URL, folder, stack frames and single
 * instance. Imports between files become absolute; imports of packages stay.
 */
export async function compileFiles(compiler: Compiler, graph: Graph): Promise<CompiledFiles> {
  const sources = [...graph.files].filter(isTypeScript)
  const modules = sources.filter((path) => packageFormat(path) === 'esm')
  const scripts = sources.filter((path) => packageFormat(path) === 'cjs')

  const asScripts = await compileCommonJs(compiler, graph, scripts)
  if (asScripts !== undefined) return { ...asScripts, ...(await compileAs('esm', compiler, graph, modules)).files }
  const fixed = scripts.filter((path) => path.endsWith('.cts'))
  const rest = scripts.filter((path) => !path.endsWith('.cts'))
  return {
    ...(await compileAs('cjs', compiler, graph, fixed)).files,
    ...(await compileAs('esm', compiler, graph, [...modules, ...rest])).files,
  }
}

/**
 * Without `"type": "module"`, TypeScript and Node treat a `.ts` file as CommonJS, so imports of CommonJS packages must work
 * as in CommonJS. Only ES modules have `import.meta` and a top-level `await`. If one of the files uses them, the project
 * means ES modules and another tool compiles it; then this resolves to undefined.
 */
async function compileCommonJs(
  compiler: Compiler,
  graph: Graph,
  paths: readonly string[],
): Promise<CompiledFiles | undefined> {
  try {
    const { files, warnings } = await compileAs('cjs', compiler, graph, paths)
    return warnings.some((warning) => warning.id === 'empty-import-meta') ? undefined : files
  } catch (error) {
    const failure = z.object({ errors: z.array(z.object({ text: z.string() })) }).safeParse(error)
    if (failure.data?.errors.every((message) => message.text.startsWith('Top-level await'))) return undefined
    throw error
  }
}

async function compileAs(
  format: Format,
  compiler: Compiler,
  graph: Graph,
  paths: readonly string[],
): Promise<{ files: CompiledFiles; warnings: BuildResult['warnings'] }> {
  if (paths.length === 0) return { files: {}, warnings: [] }
  const outdir = dirname(paths[0] ?? '.')
  const { outputFiles, warnings } = await compiler.build({
    ...COMMON_OPTIONS,
    entryPoints: paths.map((path, index) => ({ in: path, out: String(index) })),
    outdir,
    format,
    sourcemap: 'external',
    sourcesContent: false,
    plugins: [keepImports(graph, format)],
    ...(format === 'esm' ? { banner: { js: NODE_GLOBALS }, define: NODE_GLOBAL_NAMES } : {}),
  })
  const texts = new Map(outputFiles.map((file: OutputFile) => [file.path, file.text]))
  const files = paths.map((path, index): [string, CompiledFile] => {
    const code = texts.get(resolve(outdir, `${index}.js`)) ?? ''
    refuseDecoratorMetadata(path, code)
    const map = absoluteSourceMap(texts.get(resolve(outdir, `${index}.js.map`)) ?? '{}', outdir)
    return [
      pathToFileURL(path).href,
      { format, source: `${code}${map}`, exportNames: format === 'cjs' ? readExportNames(code) : [] },
    ]
  })
  return { files: Object.fromEntries(files), warnings }
}

/** esbuild compiles legacy decorators without their metadata, which libraries then miss at run time. */
function refuseDecoratorMetadata(path: string, code: string): void {
  if (!code.includes('__decorateClass(')) return
  const tsconfig = nearestTsconfig(path)
  if (tsconfig === undefined || !emitsDecoratorMetadata(tsconfig)) return
  throw new ConfigError(
    'ZYQ_TASK_FILE',
    `${path} has decorators, and ${tsconfig} sets \`emitDecoratorMetadata\`, which needs the types that only tsc knows. Compile the project with tsc and give the compiled .js file to --task-file, or remove the option.`,
  )
}

/** Keeps imports between files as imports, of absolute paths or URLs, and compiles JSON into the importing file. */
function keepImports(graph: Graph, format: Format): Plugin {
  return {
    name: 'zyqueue-keep-apart',
    setup(build) {
      build.onResolve({ filter: /.*/ }, ({ path, importer, kind }) => {
        if (kind === 'entry-point') return undefined
        const target = graph.target(importer, path, kind) ?? { kind: 'node' }
        if (target.kind === 'data') return { path: target.path }
        if (target.kind === 'node') return { path, external: true }
        const required = kind.startsWith('require') || (format === 'cjs' && kind === 'import-statement')
        return { path: required ? target.path : pathToFileURL(target.path).href, external: true }
      })
    },
  }
}

/** Globals of CommonJS, for sources that are compiled to ES modules. */
const NODE_GLOBAL_NAMES = { __filename: 'zyqueueFilename', __dirname: 'zyqueueDirname' }
const NODE_GLOBALS = [
  'import { createRequire as zyqueueCreateRequire } from "node:module";',
  'const require = zyqueueCreateRequire(import.meta.url);',
  'const zyqueueFilename = import.meta.filename, zyqueueDirname = import.meta.dirname;',
].join(' ')

const sourceMap = z.looseObject({ sources: z.array(z.string()) })

/** Makes the names in a source map absolute URLs: Node then prints them unchanged. */
function absoluteSourceMap(text: string, outdir: string): string {
  const map = sourceMap.parse(JSON.parse(text))
  const sources = map.sources.map((source) => pathToFileURL(resolve(outdir, source)).href)
  const encoded = Buffer.from(JSON.stringify({ ...map, sources })).toString('base64')
  return `//# sourceMappingURL=data:application/json;base64,${encoded}\n`
}

/** esbuild lists a CommonJS file's exports for Node in `0 && (module.exports = { a, b })`. */
function readExportNames(code: string): readonly string[] {
  const list = /\n0 && \(module\.exports = \{([^}]*)\}\);\n/.exec(code)?.[1] ?? ''
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name) && name !== 'default')
}
