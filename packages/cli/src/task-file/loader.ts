import * as nodeModule from 'node:module'
import { pathToFileURL } from 'node:url'
import { compiledFiles, loadCompiled, type CompiledFiles, type LoadHook } from './loader-hooks.ts'

/**
 * Makes this process able to import the compiled files; call it before the first import of one. Each worker process
 * does: it needs no compiler. Stacks lead to the lines of the TypeScript sources.
 */
export function register(data: CompiledFiles): void {
  const files = compiledFiles.parse(data)
  process.setSourceMapsEnabled(true)
  extendRequire(files)
  // From Node 22.15 and 23.5 hooks run in the thread that imports. Before, they live in one of their own.
  if (hasThreadlessHooks(nodeModule)) nodeModule.registerHooks({ load: loadCompiled(files) })
  else nodeModule.register('./loader-thread.js', import.meta.url, { data: files })
}

function hasThreadlessHooks(
  module: object,
): module is { registerHooks(hooks: { load: LoadHook<nodeModule.LoadFnOutput> }): unknown } {
  return 'registerHooks' in module
}

/** `require` knows nothing of those hooks on Node 20. Its own table of extensions works on every version, and serves all. */
function extendRequire(files: CompiledFiles): void {
  const { extensions } = nodeModule.createRequire(import.meta.url)
  for (const extension of ['.ts', '.tsx', '.cts', '.mts']) {
    const before = extensions[extension] ?? extensions['.js']
    extensions[extension] = (module, filename) => {
      const file = files[pathToFileURL(filename).href]
      if (file === undefined || !compiles(module)) return before?.(module, filename)
      return module._compile(file.source, filename)
    }
  }
}

function compiles(module: object): module is { _compile(source: string, filename: string): unknown } {
  return '_compile' in module
}
