/** The hooks of Node versions that run them in a thread of their own. Imported there only, by `register` in loader.ts. */
import type { LoadFnOutput, LoadHookContext } from 'node:module'
import { loadCompiled, type CompiledFiles } from './loader-hooks.ts'

let hook = loadCompiled({})

export function initialize(files: CompiledFiles): void {
  hook = loadCompiled(files)
}

export async function load(
  url: string,
  context: LoadHookContext,
  next: (url: string, context?: LoadHookContext) => LoadFnOutput | Promise<LoadFnOutput>,
): Promise<LoadFnOutput> {
  return hook(url, context, next)
}
