import type { Socket } from 'node:net'
import { StringDecoder } from 'node:string_decoder'
import type { BrokerError } from '@zyqueue/core/broker'
import { GearmanError } from '../errors.ts'
import type { Address } from '../options.ts'
import { openSocket, SocketConnection } from './socket-connection.ts'

/** After this many seconds without a byte of an answer the server is given up. */
const MAX_SILENT_TURNS = 5

interface PendingReply {
  readonly isList: boolean
  readonly resolve: (lines: readonly string[]) => void
  readonly reject: (error: unknown) => void
}

/**
 * A connection for the text commands of operators, one line each. An answer is one line, or for lists several lines and a line
 * with a dot. No jobs travel on it.
 */
export class TextConnection extends SocketConnection {
  readonly #decoder = new StringDecoder('utf8')
  readonly #pending: PendingReply[] = []
  #lines: string[] = []
  #partial = ''

  /** Connects until the signal is aborted. Rejects with `ZYQ_UNREACHABLE`, or the signal's reason. */
  static async open(address: Address, signal: AbortSignal): Promise<TextConnection> {
    return new TextConnection(await openSocket(address, signal), address, signal)
  }

  private constructor(socket: Socket, address: Address, signal: AbortSignal) {
    super(socket, address, signal, MAX_SILENT_TURNS)
  }

  /** The lines of a list, such as `status` or `workers`. Rejects with `ZYQ_CONNECTION_LOST`. */
  list(command: string): Promise<readonly string[]> {
    return this.#send(command, true)
  }

  /** The answer to a command, without its `OK`. Rejects with `GearmanError` if the server answers `ERR`. */
  async command(command: string): Promise<string> {
    const [line = ''] = await this.#send(command, false)
    if (!line.startsWith('ERR ')) return line.replace(/^OK ?/, '')
    const [, code = '', text = ''] = /^ERR (\S+) ?(.*)$/s.exec(line) ?? []
    throw new GearmanError(code, decodeText(text))
  }

  protected override read(chunk: Buffer): void {
    const lines = (this.#partial + this.#decoder.write(chunk)).split('\n')
    this.#partial = lines.pop() ?? ''
    for (const line of lines) this.#receive(line.replace(/\r$/, ''))
  }

  protected override isExpecting(): boolean {
    return this.#pending.length > 0
  }

  protected override onEnd(error: BrokerError): void {
    for (const { reject } of this.#pending.splice(0)) reject(error)
  }

  #send(command: string, isList: boolean): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      if (this.ended !== undefined) return reject(this.ended)
      this.#pending.push({ isList, resolve, reject })
      // `create function` takes the last word up to the carriage return.
      this.socket.write(`${command}\r\n`)
    })
  }

  #receive(line: string): void {
    const [pending] = this.#pending
    // gearmand sends an empty line after some answers.
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
  }
}

/** gearmand encodes the text of an error like a query string. */
function decodeText(text: string): string {
  const spaced = text.replaceAll('+', ' ')
  try {
    return decodeURIComponent(spaced)
  } catch {
    return spaced
  }
}
