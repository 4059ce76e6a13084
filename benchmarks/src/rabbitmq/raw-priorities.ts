/** amqplib alone on a queue with ten priorities, like ZyQueue's classic queues. It shows what priorities cost in the server. */
import type { Contestant } from '../contestant.ts'
import { rawOn } from './raw.ts'

export const contestant: Contestant = rawOn({ 'x-max-priority': 9 })
