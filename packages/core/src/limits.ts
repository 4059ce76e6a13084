/** The longest delay of a job, in ms: ten years. */
export const MAX_DELAY_MS: number = 10 * 365 * 24 * 60 * 60 * 1000
/** The default of `maxPostponeMs`: thirty days. */
export const DEFAULT_MAX_POSTPONE_MS: number = 30 * 24 * 60 * 60 * 1000
/** The maximum number of retries. A header's count may be larger. */
export const MAX_RETRIES: number = 999_999
/** The longest timer of Node.js, in ms: nearly 25 days. Node.js runs a longer one after 1 ms. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1
