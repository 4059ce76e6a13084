import { AsyncLocalStorage, createHook } from 'node:async_hooks'

/** Records the timers, sockets and other handles that calls create, and finds the handles that keep the process alive. */
export class HandleWatch {
  readonly #scope = new AsyncLocalStorage<HandleWatch>()
  readonly #resources = new Map<number, { readonly type: string; readonly resource: object }>()
  readonly #hook = createHook({
    init: (asyncId, type, _triggerId, resource) => {
      if (this.#scope.getStore() === this) this.#resources.set(asyncId, { type, resource })
    },
    destroy: (asyncId) => this.#resources.delete(asyncId),
  })

  start(): void {
    this.#hook.enable()
  }

  stop(): void {
    this.#hook.disable()
    this.#resources.clear()
  }

  /** Calls the function and records all handles that it creates, now and later. */
  watch<Value>(call: () => Value): Value {
    return this.#scope.run(this, call)
  }

  /** The types of the handles that keep the process alive now. */
  held(): readonly string[] {
    return [...this.#resources.values()].filter(({ resource }) => hasRef(resource)).map(({ type }) => type)
  }
}

function hasRef(resource: object): boolean {
  return 'hasRef' in resource && typeof resource.hasRef === 'function' && resource.hasRef() === true
}
