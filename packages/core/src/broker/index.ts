export type * from './contract.ts'
export { Bell } from './bell.ts'
export { BrokerError, ConfigError, ZyQueueError } from '../errors.ts'
export type { CodeOf, ErrorCode } from '../error-codes.ts'
