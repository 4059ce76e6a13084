import { randomBytes } from 'node:crypto'

const COUNTER_DIGITS = 8

/**
 * Creates a series of job ids of 28 characters: the start time of the series (9, base 36), 55 random bits (11), and the index
 * (8). The ids of a series sort by index, and an id needs no system call. Brokers may rely on this form.
 */
export function createIdSeries(): (index: number) => string {
  const random = randomBytes(8).readBigUInt64BE() >> 9n
  const prefix = Date.now().toString(36).padStart(9, '0') + random.toString(36).padStart(11, '0')
  return (index) => prefix + index.toString(36).padStart(COUNTER_DIGITS, '0')
}

/** Creates a generator of job ids. */
export function createJobIds(): () => string {
  const idAt = createIdSeries()
  let count = 0
  return () => idAt(count++)
}
