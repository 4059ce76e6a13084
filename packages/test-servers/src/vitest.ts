import { describe, test } from 'vitest'
import { ensureInstalled, type ServerName } from './install.ts'

/**
 * `describe` for tests that need a real server; they are given the path of its program. Where it cannot be had, the tests are
 * skipped by name; with `CI=true` they fail instead. Await it at the top of a test file: the server may have to be installed first.
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
