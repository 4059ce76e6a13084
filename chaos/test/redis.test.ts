import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { shortPass } from './short-pass.ts'

await describeWithServer('redis', 'redis', () => shortPass('redis'))
