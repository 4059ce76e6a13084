import { fileURLToPath } from 'node:url'
import type { LoadFnOutput, LoadHookContext } from 'node:module'
import { z } from 'zod'

const compiledFile = z.object({
  format: z.enum(['esm', 'cjs']),
  /** JavaScript, with its source map inline. */
  source: z.string(),
  /** The names that a CommonJS file exports; [] for a module. */
  exportNames: z.array(z.string()).readonly(),
})

/** The compiled files by the `file:` URL of their source. They are sent to worker processes as JSON. */
const compiledFiles = z.record(z.string(), compiledFile)

/** What a process needs to import a compiled task file. */
export const loaderData = z.object({
  files: compiledFiles,
  /** The `file:` URLs of the ES modules that CommonJS files load, each after the ones that it needs. */
  requiredModules: z.array(z.string()).readonly(),
})

export type LoaderData = z.infer<typeof loaderData>
export type CompiledFile = z.infer<typeof compiledFile>
export type CompiledFiles = z.infer<typeof compiledFiles>

export type LoadHook<Result> = (
  url: string,
  context: LoadHookContext,
  next: (url: string, context?: LoadHookContext) => Result,
) => Result | LoadFnOutput

/** A `load` hook of Node that returns compiled files from memory and passes all others on. */
export function loadCompiled(
  files: CompiledFiles,
): <Result>(...args: Parameters<LoadHook<Result>>) => Result | LoadFnOutput {
  return (url, context, next) => {
    const file = files[url]
    if (file === undefined) return next(url, context)
    const source = file.format === 'esm' ? file.source : facade(fileURLToPath(url), file.exportNames)
    return { format: 'module', source, shortCircuit: true }
  }
}

/**
 * An ES module that re-exports a CommonJS file, which `require` loads. If a hook returned the file to `import` as CommonJS,
 * its `require` could not load ES modules on Node 20.
 */
function facade(path: string, exportNames: readonly string[]): string {
  return [
    `import { createRequire } from 'node:module'`,
    `const exported = createRequire(import.meta.url)(${JSON.stringify(path)})`,
    'export default exported',
    ...exportNames.map((name, index) => `const $${index} = exported.${name}; export { $${index} as ${name} }`),
  ].join('\n')
}
