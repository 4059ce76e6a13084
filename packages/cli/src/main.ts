import { readFileSync } from 'node:fs'
import yargs, { type Argv } from 'yargs'
import { setResolution } from '@zyqueue/core'
import { suggest } from '@zyqueue/core/supervisor'
import { z } from 'zod'
import { resolveFrom } from './broker.ts'
import { brokersCommand } from './commands/brokers.ts'
import { cancelCommand } from './commands/cancel.ts'
import { compactCommand } from './commands/compact.ts'
import { deadCommand } from './commands/dead.ts'
import { doctorCommand } from './commands/doctor.ts'
import { gearmandCommand } from './commands/gearmand.ts'
import { jobsCommand } from './commands/jobs.ts'
import { limitCommand } from './commands/limit.ts'
import { promoteCommand } from './commands/promote.ts'
import { purgeCommand } from './commands/purge.ts'
import { shutdownCommand } from './commands/shutdown.ts'
import { statusCommand } from './commands/status.ts'
import { submitCommand } from './commands/submit.ts'
import { tasksCommand } from './commands/tasks.ts'
import { workCommand } from './commands/work.ts'
import { workersCommand } from './commands/workers.ts'
import { EXIT } from './exit-codes.ts'
import { fromLegacy, quote } from './legacy.ts'
import { GLOBAL_OPTIONS, splitShortOptions, type GlobalArgs } from './options.ts'
import { redactConnection, redactText } from './redact.ts'
import { report } from './report.ts'
import { exitBySignal, handleSignals } from './signals.ts'
import { isScript } from './task-file/files.ts'
import { UsageError } from './usage-error.ts'

const COMMANDS = [
  workCommand,
  submitCommand,
  statusCommand,
  workersCommand,
  tasksCommand,
  jobsCommand,
  cancelCommand,
  promoteCommand,
  purgeCommand,
  compactCommand,
  limitCommand,
  deadCommand,
  brokersCommand,
  doctorCommand,
  shutdownCommand,
  gearmandCommand,
]

/** Runs one command line, given without the program's name. Resolves to the exit code; never rejects. */
export async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json')
  const completing = argv[0] === '--get-yargs-completions'
  // If zyqueue proposes nothing, the shell completes file names.
  if (completing && ['-f', '--task-file'].includes(argv.at(-2) ?? '')) return EXIT.ok
  setResolution({ resolveFrom: resolveFrom(), baseDir: process.cwd() })
  try {
    const words = splitShortOptions(argv)
    const legacy = fromLegacy(words)
    if (legacy !== undefined)
      process.stderr.write(`zyqueue: old arguments; the command is now: zyqueue ${quote(legacy.map(redactWord))}\n`)
    const today = legacy ?? words
    // Every user of the host can read the arguments of a process, and they may hold a connection string with a password.
    const command = commandsOf(today).find((word) => /^[a-z]+$/.test(word)) ?? 'help'
    process.title = `zyqueue: ${command}`
    // A signal that comes before `work` has started its workers is for `work` to handle.
    if (command !== 'work') handleSignals(exitBySignal)
    await commandLine(today).parseAsync()
    return Number(process.exitCode ?? EXIT.ok)
  } catch (error) {
    // The user is still typing this line, so its errors are not reported.
    return completing ? EXIT.ok : report(error, json)
  }
}

/** A word of a command line, without the secrets of a connection string. */
function redactWord(word: string, at: number, argv: readonly string[]): string {
  return argv[at - 1] === '--connection' ? redactConnection(word) : redactText(word)
}

function commandLine(argv: readonly string[]): Argv<GlobalArgs> {
  const empty: Argv<GlobalArgs> = yargs([...argv])
    .scriptName('zyqueue')
    .locale('en')
    .updateStrings({ string: 'value', array: 'values', boolean: 'flag' })
    .usage('$0 <command>\n\nRuns background jobs on the broker that you already run, or in a file.')
    .options(GLOBAL_OPTIONS)
  return withCompletion(
    COMMANDS.reduce((cli, add) => add(cli), empty),
    argv,
  )
    .demandCommand(1, 1, 'a command is missing')
    .strict()
    .parserConfiguration({ 'dot-notation': false })
    .version(version())
    .alias({ help: 'h', version: 'v' })
    .group([], 'Options:')
    .group(['server', 'connection', 'json', 'help', 'version'], 'Global options:')
    .example('$0 work --task-file tasks.ts', 'Run the tasks of a file')
    .example(`$0 submit resize '{"file":"a.png"}'`, 'Submit a job')
    .example('$0 status', 'Show the queues and their jobs')
    .epilogue('Exit codes: 0 done, 1 failed, 2 usage, 3 broker unreachable, 4 not found, 5 unsupported.')
    .wrap(Math.min(process.stdout.columns ?? 110, 110))
    .exitProcess(false)
    .fail((message, error, usage) => {
      if (error instanceof Error && !message) throw error
      // `usage` prints the help of the command that was read, although its type says otherwise.
      throw usageErrorOf(message ?? String(error), String(usage.help()), argv)
    })
}

const COMPLETION = 'Print a script for the shell that completes commands and options'

/** yargs prints the script even with `--help`, so then an ordinary command takes its place. */
function withCompletion(cli: Argv<GlobalArgs>, argv: readonly string[]): Argv<GlobalArgs> {
  const asksForHelp = argv.some((word) => word === '--help' || word === '-h')
  if (!asksForHelp || commandsOf(argv)[0] !== 'completion') return cli.completion('completion', COMPLETION)
  return cli.command('completion', COMPLETION, (command) =>
    command
      .example('source <($0 completion)', 'In this shell, Bash or Zsh')
      .example('$0 completion >> ~/.bashrc', 'In each new Bash'),
  )
}

/** The words that are neither an option nor the value of an option that may stand before the command. */
function commandsOf(argv: readonly string[]): readonly string[] {
  const takesValue = /^(?:-[SC]|--(?:server|connection))$/
  return argv.filter((word, at) => !word.startsWith('-') && !takesValue.test(argv[at - 1] ?? ''))
}

/** Turns a message of yargs about invalid arguments into an error that says what was probably meant and which help to read. */
function usageErrorOf(message: string, help: string, argv: readonly string[]): UsageError {
  const command = /^zyqueue (?:dead )?[a-z]+/.exec(help)?.[0] ?? 'zyqueue'
  const remedy = `See ${command} --help.`
  const unknown = (kind: string, word: string, known: readonly string[]): UsageError => {
    const near = suggest(word, known)
    return new UsageError(`unknown ${kind} ${word}${near === undefined ? '' : `; did you mean ${near}?`}`, remedy)
  }
  // If the command is unknown, yargs complains about its arguments or options instead.
  const [list = ''] = /^Commands:\n(?:  .*\n)*/m.exec(help) ?? []
  const commands = [...list.matchAll(/^  zyqueue (?:dead )?(\w+)/gm)].map(([, name = '']) => name)
  const verb = commandsOf(argv)[command === 'zyqueue' ? 0 : 1]
  if (commands.length > 0 && verb !== undefined && !commands.includes(verb)) return unknown('command', verb, commands)

  // If a required option is mistyped, yargs reports the required one as missing.
  const options = [...help.matchAll(/(?<=\s)--[a-z-]+/g)].map(([name]) => name)
  const option = argv.map((word) => /^--[a-z][\w-]*/.exec(word)?.[0]).find((word) => word && !options.includes(word))
  const argument = option ?? /^Unknown (?:argument|command)s?: ([^,]+)/.exec(message)?.[1]
  if (argument !== undefined) return unknown('argument', argument, options)
  const file = argv.find((word) => !word.startsWith('-') && isScript(word))
  if (file !== undefined && message.includes(': task-file')) {
    return new UsageError(rephrase(message), `Did you mean --task-file ${file}? ${remedy}`)
  }
  const missing = missingArgument(message, help)
  return new UsageError(missing === undefined ? rephrase(message) : `the argument ${missing} is missing`, remedy)
}

/** The first missing argument, such as `<queue>`, by the number of given ones and the first line of the help. */
function missingArgument(message: string, help: string): string | undefined {
  const given = /^Not enough non-option arguments: got (\d+)/.exec(message)?.[1]
  const [usage = ''] = help.split('\n', 1)
  return given === undefined ? undefined : usage.match(/<[^>]+>/g)?.[Number(given)]
}

function rephrase(message: string): string {
  return message
    .replace(
      /^Missing required arguments?: (.+)$/,
      (_, names: string) => `--${names.replaceAll(', ', ', --')} is missing`,
    )
    .replace(
      /^Invalid values:\s+Argument: (\S+), Given: (.+?), Choices: (.+)$/s,
      (_, name: string, value: string, choices: string) =>
        `--${name}: ${value} is not one of ${choices.replaceAll('"', '')}`,
    )
    .replace(/^Arguments (\S+) and (\S+) are mutually exclusive$/, '--$1 and --$2 cannot be combined')
}

const packageJson = z.object({ version: z.string() })

function version(): string {
  return packageJson.parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))).version
}
