import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type * as esbuild from 'esbuild-wasm'

export type Compiler = Pick<typeof esbuild, 'build' | 'formatMessages' | 'stop' | 'version'>

/** The first minor version of esbuild 0.x that compiles all forms of standard decorators. */
const OLDEST_MINOR = 24

/**
 * The compiler for a task file: the project's `esbuild` if it has one, because it is faster, else `esbuild-wasm`, which comes
 * with this package and needs no install script. It runs in a child process until the caller calls `stop`.
 */
export async function compilerFor(taskFile: string): Promise<Compiler> {
  return (await installedCompiler(taskFile)) ?? (await import('esbuild-wasm'))
}

async function installedCompiler(taskFile: string): Promise<Compiler | undefined> {
  try {
    const compiler: Compiler = await import(pathToFileURL(createRequire(taskFile).resolve('esbuild')).href)
    const [major = 0, minor = 0] = compiler.version.split('.').map(Number)
    if (major === 0 && minor < OLDEST_MINOR) return undefined
    // The native binary is a separate package, which may be missing although `esbuild` could be imported.
    await compiler.formatMessages([], { kind: 'error' })
    return compiler
  } catch {
    return undefined
  }
}
