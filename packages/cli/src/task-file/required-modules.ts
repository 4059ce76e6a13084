import { pathToFileURL } from 'node:url'
import { packageFormat } from './files.ts'
import type { Graph } from './graph.ts'
import type { CompiledFiles } from './loader-hooks.ts'

/**
 * The URLs of the ES modules of several files that CommonJS files of the graph load, each after the modules that it needs.
 * `require` alone can load a module of one file.
 */
export function requiredModules(graph: Graph, entry: string, files: CompiledFiles): readonly string[] {
  const formatOf = (path: string): string => files[pathToFileURL(path).href]?.format ?? packageFormat(path)
  const required = new Set<string>()
  const seen = new Set<string>()
  const inOrder: string[] = []

  const visit = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    for (const { kind, path: target } of graph.imports(path)) {
      if (formatOf(path) === 'cjs' && kind !== 'dynamic-import' && formatOf(target) === 'esm') required.add(target)
      visit(target)
    }
    inOrder.push(path)
  }
  visit(entry)
  return inOrder
    .filter((path) => required.has(path) && graph.imports(path).length > 0)
    .map((path) => pathToFileURL(path).href)
}
