import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type * as esbuild from 'esbuild-wasm'

export type Compiler = Pick<typeof esbuild, 'build' | 'formatMessages' | 'stop' | 'version'>

/** The first minor version of esbuild 0.x whose decorators are those of the standard, in all their forms. */
const OLDEST_MINOR = 24

/**
 * The compiler for a task file: the `esbuild` that its project has installed, which is the faster one; otherwise
 * `esbuild-wasm`, which comes with this package and needs no install script. It runs in a process of its own until the
 * caller has called `stop`.
 */
export async function compilerFor(taskFile: string): Promise<Compiler> {
  return (await installedCompiler(taskFile)) ?? (await import('esbuild-wasm'))
}

async function installedCompiler(taskFile: string): Promise<Compiler | undefined> {
  try {
    const compiler: Compiler = await import(pathToFileURL(createRequire(taskFile).resolve('esbuild')).href)
    const [major = 0, minor = 0] = compiler.version.split('.').map(Number)
    if (major === 0 && minor < OLDEST_MINOR) return undefined
    // Loading says nothing yet: the native binary is a package of its own, which may be missing.
    await compiler.formatMessages([], { kind: 'error' })
    return compiler
  } catch {
    return undefined
  }
}
