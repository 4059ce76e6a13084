import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, onTestFinished, test } from 'vitest'

const MODULE = new URL('../dist/index.js', import.meta.url).href

/** Starts a process that gets `count` ports and stays alive. Resolves to the ports. */
async function portsOfProcess(count: number): Promise<readonly number[]> {
  const script = `
    import { freePort } from ${JSON.stringify(MODULE)}
    const ports = []
    for (let asked = 0; asked < ${count}; asked++) ports.push(await freePort())
    console.log(JSON.stringify(ports))
    process.stdin.on('end', () => process.exit()).resume()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.stdin.end())
  const ended = once(child, 'exit').then(() => {
    throw new Error('The process ended without ports.')
  })
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended])
  return JSON.parse(String(line))
}

test('processes get different ports, below those of outgoing connections', async () => {
  const ports = (await Promise.all([portsOfProcess(1_000), portsOfProcess(1_000), portsOfProcess(1_000)])).flat()
  expect(new Set(ports).size).toBe(3_000)
  expect(Math.max(...ports)).toBeLessThan(32_768)
})
