import gearman from '@zyqueue/broker-gearman'
import { adapterOf } from '../adapter.ts'
import type { Contestant } from '../contestant.ts'

export const contestant: Contestant = adapterOf(gearman)
