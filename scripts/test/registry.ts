import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { Packed } from './release.ts'

export interface Registry extends AsyncDisposable {
  readonly url: string
}

/** The part of npm's registry API that an installation needs, for these packages only. */
export async function serveRegistry(packages: readonly Packed[]): Promise<Registry> {
  // No cache knows a path that was never used before.
  const path = `/${randomUUID()}/`
  let origin = ''
  const server = createServer((request, response) => {
    const wanted = decodeURIComponent(request.url ?? '').replace(path, '')
    const packed = packages.find(({ manifest }) => wanted === manifest.name || wanted === tarballPath(manifest))
    response.setHeader('cache-control', 'no-store')
    if (packed === undefined) response.writeHead(404).end()
    else if (wanted === packed.manifest.name)
      response.setHeader('content-type', 'application/json').end(JSON.stringify(describe(packed, `${origin}${path}`)))
    else response.end(readFileSync(packed.tarball))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the registry has no port')
  origin = `http://127.0.0.1:${address.port}`
  return {
    url: `${origin}${path}`,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function tarballPath({ name, version }: Packed['manifest']): string {
  return `${name}/-/${version}.tgz`
}

function describe({ manifest, tarball }: Packed, url: string) {
  const integrity = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
  const dist = { tarball: `${url}${tarballPath(manifest)}`, integrity }
  const { name, version } = manifest
  // An old date, because package managers may refuse packages that were published recently.
  const time = { created: '2020-01-01T00:00:00.000Z', [version]: '2020-01-01T00:00:00.000Z' }
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } }, time }
}
