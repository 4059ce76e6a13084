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
  ['condemned', ({ wrongDeadLetters }) => wrongDeadLetters],
  ['stale acks taken', ({ staleAccepted }) => staleAccepted],
  ['never settled', ({ unsettled }) => unsettled],
  ['recovery, ms', ({ recoverMs }) => recoverMs],
  ['', ({ ok }) => (ok ? '' : '**broken**')],
]

/**
 * The results as a page of the documentation. Of brokers that did not run it keeps the section that the page of before has.
 */
export function page(results: readonly RunResult[], seconds: number, before: string): string {
  const sections = TARGETS.flatMap((kind) => {
    const own = results.filter(({ broker }) => broker === kind.broker)
    return own.length > 0 ? section(kind, own, seconds) : (sectionOf(before, kind.broker) ?? [])
  })
  return `# What survives

<!-- Generated: pnpm chaos --docs -->

The suite of [\`chaos/\`](../chaos/README.md) breaks things on purpose while jobs are submitted and run, heals them, lets the
queue drain, and counts what comes of it from what the processes noted past the broker.

- **lost**: submits that resolved, and jobs that were neither run to their end nor kept as dead letters.
- **unexpected**: jobs that were refused or never submitted, and run.
- **run twice**: run to their end more than once. Delivery is at least once: after an accident, that may be.
- **condemned**: dead letters that had done nothing to deserve it. RabbitMQ counts a connection that broke as an owner that died: cut
  often enough while a job is held, a job passes for poison there.
- **stale acks taken**: completions that were accepted from a worker that had lost the job to another.
- **never settled**: submits whose promise neither resolved nor rejected.
- **recovery**: from the end of a process to the next run of a job that it had in hand, the longest. On RabbitMQ, where three are killed
  within a second, many a job has lost half its chances, and those are taken one by one.

${sections.join('\n\n')}

## The faults

${FAULTS.map(({ name, description }) => `- \`${name}\`: ${description}`).join('\n')}
`
}

function section({ broker, setUp }: TargetKind, results: readonly RunResult[], seconds: number): string {
  const day = new Date().toISOString().slice(0, 10)
  return [
    `## ${broker}`,
    `${setUp} Run on ${day} with Node ${process.versions.node} on ${cpus().length} cores, seed ${results[0]?.seed}, ${seconds} s of each fault, a lease of ${LEASE_MS / 1_000} s.`,
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
