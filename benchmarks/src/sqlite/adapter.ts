import sqlite from '@zyqueue/broker-sqlite'
import { adapterOf } from '../adapter.ts'
import type { Contestant } from '../contestant.ts'

export const contestant: Contestant = adapterOf(sqlite)
