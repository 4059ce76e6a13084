/** The longest delay of a job, in ms: ten years. */
export const MAX_DELAY_MS: number = 10 * 365 * 24 * 60 * 60 * 1000
/** How long a job is postponed in all, in ms, if its task does not say: thirty days. */
export const DEFAULT_MAX_POSTPONE_MS: number = 30 * 24 * 60 * 60 * 1000
/** The most retries of a job: what fits into its headers with room to count on. */
export const MAX_RETRIES: number = 999_999
/** The longest time that a timer of Node can measure, in ms: nearly 25 days. It takes a longer one for 1 ms. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1
