/*
 * The keys of methods that are not public. `Symbol.for`, because a method may be called by another copy of this package.
 */

/** Of a task: its broker, from its options or of the test queue. */
export const CHOICE: unique symbol = Symbol.for('@zyqueue/core/choice@1')
/** Of a task: sends its jobs to a test queue. */
export const DIVERT: unique symbol = Symbol.for('@zyqueue/core/divert@1')
/** Of a job: aborts its signal. */
export const ABORT: unique symbol = Symbol.for('@zyqueue/core/abort@1')
/** Of a worker: clears the ledger of jobs that have not started. */
export const RELEASE_UNSTARTED: unique symbol = Symbol.for('@zyqueue/core/release-unstarted@1')
