import type { Socket } from 'node:net'
import type { BrokerError } from '@zyqueue/core/broker'
import { closed, connectionLost, GearmanError } from '../errors.ts'
import { nameOf, type Address } from '../options.ts'
import { openSocket } from './socket.ts'

/** How long a server may leave a command without a byte of answer, in ms. */
const ANSWER_MS = 5_000

interface Pending {
  readonly isList: boolean
  readonly resolve: (lines: readonly string[]) => void
  readonly reject: (error: unknown) => void
}

/**
 * A connection for the commands of operators: text, a line each. An answer is a line, or, for lists, lines up to one with
 * a single dot. It carries no jobs, so it is in nobody's way.
 */
export class TextConnection {
  readonly #socket: Socket
  readonly #pending: Pending[] = []
  #lines: string[] = []
  #partial = ''
  #ended: BrokerError | undefined

  /** Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
  static async open(address: Address, signal: AbortSignal): Promise<TextConnection> {
    return new TextConnection(await openSocket(address, signal), nameOf(address))
  }

  private constructor(socket: Socket, where: string) {
    this.#socket = socket
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.#read(text))
    socket.on('error', (error) => this.#end(connectionLost(where, error)))
    socket.on('close', () => this.#end(connectionLost(where)))
    socket.on('timeout', () => {
      if (this.#pending.length > 0) this.#end(connectionLost(where, new Error('it does not answer')))
    })
  }

  get ended(): boolean {
    return this.#ended !== undefined
  }

  /** The fields of each line of a list (`status`, `workers`, …). Rejects with `ZYQ_CONNECTION_LOST`. */
  list(command: string): Promise<readonly string[]> {
    return this.#send(command, true)
  }

  /** What a command that is no list answers, without its `OK`. Rejects with `GearmanError` where it answers `ERR`. */
  async command(command: string): Promise<string> {
    const [line = ''] = await this.#send(command, false)
    if (!line.startsWith('ERR ')) return line.replace(/^OK ?/, '')
    const [, code = '', text = ''] = /^ERR (\S+) ?(.*)$/s.exec(line) ?? []
    throw new GearmanError(code, decodeURIComponentSafely(text.replaceAll('+', ' ')))
  }

  close(): void {
    this.#end(closed())
  }

  #send(command: string, isList: boolean): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) return reject(this.#ended)
      this.#pending.push({ isList, resolve, reject })
      this.#socket.setTimeout(ANSWER_MS)
      // `create function` takes the last word to its end, and needs the carriage return to end it.
      this.#socket.write(`${command}\r\n`)
    })
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) this.#take(line.replace(/\r$/, ''))
  }

  #take(line: string): void {
    const [pending] = this.#pending
    // Some answers of gearmand have an empty line behind them.
    if (pending === undefined || (line === '' && this.#lines.length === 0)) return
    if (pending.isList && line !== '.' && !(line.startsWith('ERR ') && this.#lines.length === 0)) {
      this.#lines.push(line)
      return
    }
    this.#pending.shift()
    const lines = this.#lines
    this.#lines = []
    if (!pending.isList) pending.resolve([line])
    else if (line === '.') pending.resolve(lines)
    else pending.reject(new GearmanError('ERR', line.slice(4)))
    if (this.#pending.length === 0) this.#socket.setTimeout(0)
  }

  #end(error: BrokerError): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#socket.destroy()
    for (const { reject } of this.#pending.splice(0)) reject(error)
  }
}

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
