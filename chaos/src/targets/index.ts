import type { TargetKind } from '../target.ts'
import { gearman } from './gearman.ts'
import { rabbitmq } from './rabbitmq.ts'
import { redis } from './redis.ts'
import { sqlite } from './sqlite.ts'

/** The kinds of target, one for each broker. */
export const TARGETS: readonly TargetKind[] = [sqlite, redis, rabbitmq, gearman]
