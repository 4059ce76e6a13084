import { existsSync, readFileSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { z } from 'zod'

const TYPESCRIPT = new Set(['.ts', '.tsx', '.mts', '.cts'])
const JAVASCRIPT = new Set(['.js', '.jsx', '.mjs', '.cjs'])

export function isTypeScript(path: string): boolean {
  return TYPESCRIPT.has(extname(path)) && !/\.d\.[cm]?ts$/.test(path)
}

export function isScript(path: string): boolean {
  return isTypeScript(path) || JAVASCRIPT.has(extname(path))
}

/** The module format that Node and TypeScript use for this path: by its extension, else by `type` in the nearest package.json. */
export function packageFormat(path: string): 'esm' | 'cjs' {
  if (/\.m[jt]s$/.test(path)) return 'esm'
  if (/\.c[jt]s$/.test(path)) return 'cjs'
  return nearestPackageType(dirname(path)) === 'module' ? 'esm' : 'cjs'
}

const packageJson = z.object({ type: z.string().optional() })

function nearestPackageType(folder: string): string | undefined {
  const path = join(folder, 'package.json')
  if (existsSync(path)) return packageJson.safeParse(JSON.parse(readFileSync(path, 'utf8'))).data?.type
  const parent = dirname(folder)
  return parent === folder ? undefined : nearestPackageType(parent)
}

/** Whether the folder, or one above it, has a `node_modules` with the package of this import. */
export function isInstalled(specifier: string, folder: string): boolean {
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(join(at, 'node_modules', name))) return true
    if (at === dirname(at)) return false
  }
}
