import { randomBytes } from 'node:crypto'

const COUNTER_DIGITS = 8

/**
 * A series of job ids of 28 characters: the time at which the series began (9, base 36), 55 random bits (11), and the
 * index (8). The ids of one series sort by their index, and one costs no system call. Brokers may rely on this form, which
 * the contract states.
 */
export function createIdSeries(): (index: number) => string {
  const random = randomBytes(8).readBigUInt64BE() >> 9n
  const prefix = Date.now().toString(36).padStart(9, '0') + random.toString(36).padStart(11, '0')
  return (index) => prefix + index.toString(36).padStart(COUNTER_DIGITS, '0')
}

/** Ids one after the other. */
export function createJobIds(): () => string {
  const idAt = createIdSeries()
  let count = 0
  return () => idAt(count++)
}
