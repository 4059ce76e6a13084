import * as nodeModule from 'node:module'
import { pathToFileURL } from 'node:url'
import { loadCompiled, loaderData, type CompiledFiles, type LoaderData, type LoadHook } from './loader-hooks.ts'

/**
 * Enables this process to import the compiled files. Call it before the first import of one. Each worker process calls it,
 * so it needs no compiler. Stack traces show lines of the TypeScript sources.
 */
export async function register(data: LoaderData): Promise<void> {
  const { files, requiredModules } = loaderData.parse(data)
  process.setSourceMapsEnabled(true)
  extendRequire(files)
  // Since Node 22.15 and 23.5, hooks run in the importing thread. Older versions run them in a separate thread.
  if (hasThreadlessHooks(nodeModule)) nodeModule.registerHooks({ load: loadCompiled(files) })
  else {
    nodeModule.register('./loader-thread.js', import.meta.url, { data: files })
    if (requiredModules.length > 0) await preload(requiredModules)
  }
}

/**
 * The hooks of a separate thread do not apply to what an ES module imports that `require` loads. If all of it is in Node's
 * cache, `require` needs no hooks.
 */
async function preload(urls: readonly string[]): Promise<void> {
  if (!runsLinkedModules()) {
    // They run now, before the other imports of the task file.
    for (const url of urls) await import(url)
    return
  }
  // Node links all modules before it runs the first one, which throws. So `require` runs the others, in the usual order.
  const imports = [moduleOf(`throw ${JSON.stringify(LINKED)}`), ...urls].map((url) => `import ${JSON.stringify(url)}`)
  try {
    await import(moduleOf(imports.join('\n')))
  } catch (error) {
    if (error !== LINKED) throw error
  }
}

const LINKED = 'all modules are linked'

/** Whether `require` runs a module that is linked and has not run. Node 20.19.5 and later do; 22.12 to 22.14 do not. */
function runsLinkedModules(): boolean {
  const [major = 0, minor = 0, patch = 0] = process.versions.node.split('.').map(Number)
  return major === 20 && (minor > 19 || patch >= 5)
}

function moduleOf(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`
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
