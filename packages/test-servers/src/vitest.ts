import { describe, test } from 'vitest'
import { ensureInstalled, type ServerName } from './install.ts'

/**
 * `describe` for tests that need a real server. `tests` gets the path of its program. If the server is missing and cannot be
 * installed, the tests are skipped with the remedy in their name. With `CI=true` they fail.
 *
 * ```ts
 * await describeWithServer('redis', 'the Redis broker', () => {
 *   test('connects', async () => …)
 * })
 * ```
 */
export async function describeWithServer(
  server: ServerName,
  name: string,
  tests: (path: string) => void,
): Promise<void> {
  const found = await ensureInstalled(server)
  if (found.installed) describe(name, () => tests(found.path))
  else if (process.env['CI'] === 'true')
    describe(name, () => {
      test(`needs ${server}`, () => {
        throw new Error(found.remedy)
      })
    })
  else describe.skip(`${name} (${found.remedy})`, () => tests(''))
}
