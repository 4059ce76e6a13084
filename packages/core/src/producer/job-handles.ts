/** A job that the broker has stored. */
export interface JobHandle {
  readonly id: string
  readonly task: string
  readonly queue: string
}

/**
 * The handles of a stream of submissions, in order. The ids are a series, so a million handles need no memory: each is
 * created on access.
 */
export class JobHandles implements Iterable<JobHandle> {
  readonly length: number
  readonly #task: string
  readonly #queue: string
  readonly #idAt: (index: number) => string

  constructor(task: string, queue: string, length: number, idAt: (index: number) => string) {
    this.length = length
    this.#task = task
    this.#queue = queue
    this.#idAt = idAt
  }

  /** The handle at an index; one below 0 counts from the end. */
  at(index: number): JobHandle | undefined {
    const position = index < 0 ? this.length + index : index
    if (!Number.isInteger(position) || position < 0 || position >= this.length) return undefined
    return { id: this.#idAt(position), task: this.#task, queue: this.#queue }
  }

  *[Symbol.iterator](): Generator<JobHandle, void, undefined> {
    for (let index = 0; index < this.length; index++) {
      yield { id: this.#idAt(index), task: this.#task, queue: this.#queue }
    }
  }
}
