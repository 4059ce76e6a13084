/** The hooks for Node versions that run them in a separate thread. Only `register` in loader.ts loads this module, in that thread. */
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
