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

/** By the TypeScript file's `file:` URL. Plain data: it crosses to worker processes as JSON. */
export const compiledFiles = z.record(z.string(), compiledFile)

export type CompiledFile = z.infer<typeof compiledFile>
export type CompiledFiles = z.infer<typeof compiledFiles>

export type LoadHook<Result> = (
  url: string,
  context: LoadHookContext,
  next: (url: string, context?: LoadHookContext) => Result,
) => Result | LoadFnOutput

/** Node's `load` hook: compiled files from memory, all others from where they are. */
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
 * A module in front of a CommonJS file, which stays in the hands of `require`. Node's own way from `import` to CommonJS
 * that a hook has loaded gives the file a `require` that cannot load modules on Node 20.
 */
function facade(path: string, exportNames: readonly string[]): string {
  return [
    `import { createRequire } from 'node:module'`,
    `const exported = createRequire(import.meta.url)(${JSON.stringify(path)})`,
    'export default exported',
    ...exportNames.map((name, index) => `const $${index} = exported.${name}; export { $${index} as ${name} }`),
  ].join('\n')
}
