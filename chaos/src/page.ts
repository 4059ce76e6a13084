import { cpus } from 'node:os'
import type { RunResult } from './run.ts'
import { FAULTS } from './faults.ts'
import { LEASE_MS } from './scenario.ts'
import type { TargetKind } from './target.ts'
import { TARGETS } from './targets/index.ts'

const FIGURES: readonly (readonly [title: string, value: (result: RunResult) => string | number | undefined])[] = [
  ['fault', ({ fault }) => `\`${fault}\``],
  ['submitted', ({ attempted }) => attempted],
  ['stored', ({ acknowledged }) => acknowledged],
  ['lost', ({ lost }) => lost],
  ['unexpected', ({ unexpected }) => unexpected],
  ['run twice', ({ duplicated }) => duplicated],
  ['wrongly dead', ({ wrongDeadLetters }) => wrongDeadLetters],
  ['stale acks', ({ staleAccepted }) => staleAccepted],
  ['never settled', ({ unsettled }) => unsettled],
  ['recovery, ms', ({ recoverMs }) => recoverMs],
  ['', ({ ok }) => (ok ? '' : '**broken**')],
]

/** The results as a page of the documentation. Sections of brokers that did not run are kept from the page `before`. */
export function page(results: readonly RunResult[], seconds: number, before: string): string {
  const sections = TARGETS.flatMap((kind) => {
    const own = results.filter(({ broker }) => broker === kind.broker)
    return own.length > 0 ? section(kind, own, seconds) : (sectionOf(before, kind.broker) ?? [])
  })
  return `# Chaos tests

<!-- Generated: pnpm chaos --docs -->

The suite in [\`chaos/\`](../chaos/README.md) injects faults while jobs are submitted and run, heals them and lets the queue drain.
It then counts violations from the records of the processes, which do not pass through the broker.

- **lost**: jobs whose submit resolved and that were neither completed nor kept as dead letters.
- **unexpected**: jobs that ran although they were refused or never submitted.
- **run twice**: jobs that completed more than once. Delivery is at least once, so this may happen after a fault.
- **wrongly dead**: dead letters that should have completed. RabbitMQ counts a broken connection as a lost owner: if connections
  break often enough while a job is held, the job counts as poison.
- **stale acks**: completions that were accepted from a worker that had lost the job to another one.
- **never settled**: submits whose promise neither resolved nor rejected.
- **recovery**: the longest time from the end of a process to the next run of a job that it was running; empty if there was no such
  job. If three RabbitMQ workers are killed within a second, many jobs have lost half of their deliveries, and the workers then run
  them one at a time.

The last column says **broken** if a guarantee was violated.

${sections.join('\n\n')}

## The faults

${FAULTS.map(({ name, description }) => `- \`${name}\`: ${description}`).join('\n')}
`
}

function section({ broker, setUp }: TargetKind, results: readonly RunResult[], seconds: number): string {
  const day = new Date().toISOString().slice(0, 10)
  return [
    `## ${broker}`,
    `${setUp} Run on ${day} with Node ${process.versions.node} on ${cpus().length} cores with seed ${results[0]?.seed}, ${seconds} s per fault and a lease of ${LEASE_MS / 1_000} s.`,
    tableOf(results),
  ].join('\n\n')
}

function sectionOf(markdown: string, broker: string): string | undefined {
  return markdown
    .split(/^(?=## )/m)
    .find((part) => part.startsWith(`## ${broker}\n`))
    ?.trimEnd()
}

function tableOf(results: readonly RunResult[]): string {
  const rows = results.map((result) => FIGURES.map(([, value]) => String(value(result) ?? '')))
  const head = FIGURES.map(([title]) => title)
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
