import { parseArgs } from 'node:util'
import type { BrokerBench, CaseName } from './bench.ts'
import { CASES, FULL, QUICK } from './cases.ts'
import { gearman } from './gearman/bench.ts'
import { installPeers } from './peers.ts'
import { redis } from './redis/bench.ts'
import { rabbitmq, rabbitmqClassic } from './rabbitmq/bench.ts'
import { sqlite } from './sqlite/bench.ts'
import { runSuite } from './suite.ts'
import { missed, table } from './table.ts'

const BENCHES: readonly BrokerBench[] = [sqlite, redis, rabbitmq, rabbitmqClassic, gearman]
const CASE_NAMES = CASES.map(({ name }) => name)

const USAGE = `usage: pnpm bench <broker> [--json] [--quick] [--check] [--case NAME]...
  broker   ${BENCHES.map(({ broker }) => broker).join(', ')}
  --json   print only one JSON document on standard output
  --quick  run one short round, to check that the benchmark works
  --check  exit with 1 if a goal is missed
  --case   run only this case: ${CASE_NAMES.join(', ')}`

process.exitCode = await main()

async function main(): Promise<number> {
  const arguments_ = read()
  if (arguments_ === undefined) {
    process.stderr.write(`${USAGE}\n`)
    return 2
  }
  const { bench, cases, json, quick, check } = arguments_
  const outcome = await runSuite(await withPeers(bench), { cases, scale: quick ? QUICK : FULL, onNote: note })
  process.stdout.write(`${json ? JSON.stringify(outcome, null, 2) : `\n${table(outcome, bench.targets)}`}\n`)
  const failed = missed(outcome, bench)
  for (const goal of check ? failed : []) note(`missed: ${goal.text}`)
  return check && failed.length > 0 ? 1 : 0
}

/** The benchmark, without peers if they cannot be installed. */
async function withPeers(bench: BrokerBench): Promise<BrokerBench> {
  try {
    await installPeers(bench.peersFolder)
    return bench
  } catch (error) {
    note(`running without peers: ${error instanceof Error ? error.message : String(error)}`)
    return { ...bench, contestants: bench.contestants.filter(({ kind }) => kind !== 'peer') }
  }
}

function read():
  | { bench: BrokerBench; cases: readonly CaseName[]; json: boolean; quick: boolean; check: boolean }
  | undefined {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        check: { type: 'boolean', default: false },
        case: { type: 'string', multiple: true },
      },
    })
    const bench = BENCHES.find(({ broker }) => broker === positionals[0])
    const cases = CASE_NAMES.filter((name) => values.case?.includes(name) ?? true)
    if (bench === undefined || positionals.length !== 1 || cases.length === 0) return undefined
    return { bench, cases, json: values.json, quick: values.quick, check: values.check }
  } catch {
    return undefined
  }
}

/** Prints progress to standard error, because standard output is for the result. */
function note(line: string): void {
  process.stderr.write(`${line}\n`)
}
