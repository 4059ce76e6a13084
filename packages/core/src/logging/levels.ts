/** Levels in ascending order; `silent` logs nothing. */
export const LOG_LEVELS: readonly ['debug', 'info', 'warn', 'error', 'silent'] = [
  'debug',
  'info',
  'warn',
  'error',
  'silent',
]
export type LogLevel = (typeof LOG_LEVELS)[number]

/** The level of a line. */
export type LineLevel = Exclude<LogLevel, 'silent'>
