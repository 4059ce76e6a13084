import { Readable } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { NdjsonReader } from '../src/ndjson.ts'

async function read(chunks: readonly Uint8Array[]): Promise<{ values: unknown[]; line: number; error?: string }> {
  const reader = new NdjsonReader(Readable.from(chunks))
  const values: unknown[] = []
  try {
    for await (const value of reader) values.push(value)
    return { values, line: reader.line }
  } catch (error) {
    return { values, line: reader.line, error: String(error) }
  }
}

function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1))), bytes.length].toSorted((a, b) => a - b)
  return ends.map((end, at) => Buffer.from(bytes.subarray(ends[at - 1] ?? 0, end)))
}

const places = fc.array(fc.nat(200), { maxLength: 5 })

test('reads the written values, however the bytes are split into chunks', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.jsonValue(), { minLength: 1 }), places, async (values, at) => {
      const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join('\uFEFF'))
      const expected: unknown = JSON.parse(JSON.stringify(values))
      expect((await read(cut(bytes, at))).values).toEqual(expected)
    }),
  )
})

test('the error about bytes that are not UTF-8 names the line, after all values before it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(5), fc.nat(5), places, async (before, after, at) => {
      const broken = Buffer.from('"\xE9"\n', 'latin1')
      const bytes = Buffer.concat([Buffer.from('"é"\n'.repeat(before)), broken, Buffer.from('1\n'.repeat(after))])
      const { values, line, error } = await read(cut(bytes, at))
      expect({ values, line }).toEqual({ values: Array.from({ length: before }, () => 'é'), line: before + 1 })
      expect(error).toContain(`line ${before + 1} of standard input is not UTF-8`)
    }),
  )
})
