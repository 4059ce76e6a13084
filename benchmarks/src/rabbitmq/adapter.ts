import rabbitmq from '@zyqueue/broker-rabbitmq'
import { adapterOf } from '../adapter.ts'
import type { Contestant } from '../contestant.ts'

export const contestant: Contestant = adapterOf(rabbitmq)
