import { createHash } from 'node:crypto'

export interface Script {
  readonly lua: string
  /** The server identifies the script by this hash. */
  readonly sha: string
}

export function defineScript(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}
