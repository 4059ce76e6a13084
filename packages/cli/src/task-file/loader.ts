import * as nodeModule from 'node:module'
import { pathToFileURL } from 'node:url'
import { compiledFiles, loadCompiled, type CompiledFiles, type LoadHook } from './loader-hooks.ts'

/**
 * Enables this process to import the compiled files. Call it before the first import of one. Each worker process calls it,
 * so it needs no compiler. Stack traces show lines of the TypeScript sources.
 */
export function register(data: CompiledFiles): void {
  const files = compiledFiles.parse(data)
  process.setSourceMapsEnabled(true)
  extendRequire(files)
  // Since Node 22.15 and 23.5, hooks run in the importing thread. Older versions run them in a separate thread.
  if (hasThreadlessHooks(nodeModule)) nodeModule.registerHooks({ load: loadCompiled(files) })
  else nodeModule.register('./loader-thread.js', import.meta.url, { data: files })
}

function hasThreadlessHooks(
  module: object,
): module is { registerHooks(hooks: { load: LoadHook<nodeModule.LoadFnOutput> }): unknown } {
  return 'registerHooks' in module
}

/** On Node 20 `require` ignores these hooks. Its table of extensions works on every version, so it is used on all. */
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
