import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Block } from '../markdown.js'
import { root } from '../packages.js'

export interface Kind {
  readonly manager: 'npm' | 'pnpm'
  readonly modules: 'esm' | 'commonjs'
  readonly language: 'TypeScript' | 'JavaScript'
}

/** The commands of pnpm for those of npm. */
const PNPM: Readonly<Record<string, string>> = {
  'npm install': 'npx -y pnpm@12.21.0 add',
  npx: 'npx -y pnpm@12.21.0 exec',
}

/**
 * A project without access to this repository, which follows a document: writes its files and runs its commands, in their
 * order. If the project uses JavaScript, files are converted; if it uses pnpm, `npm` commands are translated.
 */
export class Stranger implements AsyncDisposable {
  readonly folder: string
  /** The log of all its workers. */
  log = ''
  readonly #kind: Kind
  readonly #env: NodeJS.ProcessEnv
  readonly #workers: { readonly child: ChildProcess; readonly closed: Promise<unknown> }[] = []

  constructor(folder: string, kind: Kind, registry: string, env: NodeJS.ProcessEnv) {
    this.folder = folder
    this.#kind = kind
    this.#env = env
    mkdirSync(folder)
    const type = kind.modules === 'esm' ? { type: 'module' } : {}
    this.#write('package.json', JSON.stringify({ name: 'stranger', version: '1.0.0', private: true, ...type }))
    // Strict: an installed package finds only its own dependencies.
    this.#write('pnpm-workspace.yaml', 'hoist: false\n')
    this.#write('.npmrc', `@zyqueue:registry=${registry}\naudit=false\nfund=false\nprefer-offline=true\n`)
  }

  async follow(blocks: readonly Block[]): Promise<void> {
    for (const { language, file, code } of blocks)
      if (language === 'ts' && file !== undefined) await this.#addFile(file, code)
      else for (const command of code.trim().split('\n')) await this.#type(command)
  }

  /** Presses Ctrl+C in the terminals of the workers. Resolves when all of their processes have ended. */
  async stop(): Promise<void> {
    await Promise.all(
      this.#workers.splice(0).map(async ({ child, closed }) => {
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGINT')
        await closed
      }),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Runs a program of the project until it ends. */
  async run(file: string, ...args: readonly string[]): Promise<string> {
    try {
      return (await promisify(execFile)(file, args, { cwd: this.folder, env: this.#env, timeout: 600_000 })).stdout
    } catch (error) {
      const output = ['stdout', 'stderr'].map((name) => (error instanceof Error ? Reflect.get(error, name) : ''))
      throw new Error(`${[file, ...args].join(' ')}\n${output.join('')}`, { cause: error })
    }
  }

  #write(path: string, text: string): void {
    writeFileSync(join(this.folder, path), text)
  }

  /** Writes a file, after type-checking it together with the declarations of the installed packages. */
  async #addFile(file: string, code: string): Promise<void> {
    const { modules, language } = this.#kind
    // CommonJS has no top-level `await`.
    this.#write(file, modules === 'esm' ? code : code.replaceAll(/^await /gm, 'void '))
    const options = {
      strict: true,
      skipLibCheck: false,
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
    }
    const output = { module: 'nodenext', target: 'es2023', rewriteRelativeImportExtensions: true, outDir: 'built' }
    this.#write('tsconfig.json', JSON.stringify({ compilerOptions: { ...options, ...output }, include: ['*.ts'] }))
    await this.run(join(root, 'node_modules/.bin/tsc'), '-p', '.')
    if (language === 'JavaScript') {
      const script = file.replace(/\.ts$/, '.js')
      await this.run('cp', join('built', script), script)
    }
  }

  async #type(command: string): Promise<void> {
    const { manager, language } = this.#kind
    const managed = manager === 'npm' ? command : command.replace(/^(?:npm install|npx)/, (tool) => PNPM[tool] ?? '')
    const spelled = language === 'TypeScript' ? managed : managed.replaceAll('.ts', '.js')
    // Node 22.18 and later run TypeScript files; older ones run the compiled file.
    const runnable = spelled.replace(/^node (\w+)\.ts/, 'node built/$1.js')
    if (/ work /.test(runnable)) this.#work(runnable)
    else await this.run('bash', '-c', runnable)
  }

  /** Starts a command in the background, like in a second terminal. */
  #work(command: string): void {
    const child = spawn('bash', ['-c', command], { cwd: this.folder, env: this.#env, detached: true })
    child.stdout.resume()
    child.stderr.on('data', (chunk) => (this.log += String(chunk)))
    this.#workers.push({ child, closed: once(child, 'close') })
  }
}
