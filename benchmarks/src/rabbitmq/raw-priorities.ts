/** amqplib by itself on a queue with ten priorities, as our classic queues have them: what they cost is the server's. */
import type { Contestant } from '../contestant.ts'
import { rawOn } from './raw.ts'

export const contestant: Contestant = rawOn({ 'x-max-priority': 9 })
