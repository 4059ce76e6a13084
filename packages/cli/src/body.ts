/** Prints the bodies of jobs, for people and for programs. Other programs may have sent them, so a body may hold any bytes. */
import { clip } from './output.ts'

/** `data` if the body is JSON, else `body` in base64. */
export function decodeBody(body: Uint8Array): { data: unknown } | { body: string } {
  try {
    return { data: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) }
  } catch {
    return { body: Buffer.from(body).toString('base64') }
  }
}

/** The beginning of the body, for a cell of a table. */
export function previewBody(body: Uint8Array): string {
  return clip(new TextDecoder().decode(body.subarray(0, 256)), 60)
}
