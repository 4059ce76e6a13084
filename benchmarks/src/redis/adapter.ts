import redis from '@zyqueue/broker-redis'
import { adapterOf } from '../adapter.ts'
import type { Contestant } from '../contestant.ts'

export const contestant: Contestant = adapterOf(redis)
