import { createHash } from 'node:crypto'

export interface Script {
  readonly lua: string
  /** By which a server knows it. */
  readonly sha: string
}

export function defineScript(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}
