import { pluginTests } from '@zyqueue/broker-test-kit'
import { test } from 'vitest'
import plugin from '../src/index.ts'
import { conforms } from './conform.ts'

pluginTests({ test, plugin })
await conforms('quorum')
