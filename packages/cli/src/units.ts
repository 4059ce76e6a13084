const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const BYTES = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 }

/** Parses `500ms`, `30s`, `1.5m`, `2h` or `1d` into milliseconds. Throws if the text is none of these. */
export function parseDuration(text: string): number {
  return parseQuantity(text, MS, 'a duration such as 500ms, 30s or 5m')
}

/** Parses `512MB` or `1.5GB` into bytes; 1 KB is 1024 bytes. Throws if the text is none of these. */
export function parseSize(text: string): number {
  return parseQuantity(text, BYTES, 'a size such as 512MB or 2GB')
}

/** An age in its largest whole unit, such as `45s` or `3h`; `0s` for a time in the future. */
export function describeAge(ms: number): string {
  const unit = (['d', 'h', 'm'] as const).find((name) => ms >= MS[name]) ?? 's'
  return `${Math.max(0, Math.floor(ms / MS[unit]))}${unit}`
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>, expected: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)([a-z]+)$/.exec(text.trim().toLowerCase()) ?? []
  const factor = unit !== undefined && Object.hasOwn(units, unit) ? units[unit] : undefined
  if (amount === undefined || factor === undefined) throw new Error(`"${text}" is not ${expected}`)
  const value = Math.round(Number(amount) * factor)
  if (!Number.isSafeInteger(value)) throw new Error(`"${text}" is too large`)
  return value
}
