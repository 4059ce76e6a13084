/** An item of a heap. The heap stores its index in the item, so an item can be in one heap only. */
export interface HeapItem {
  /** Set by the heap. -1 if the item is in no heap. */
  heapIndex: number
}

/** A binary heap: reads the first item in O(1), and has `push`, `shift` and `remove` in O(log n). */
export class Heap<Item extends HeapItem> {
  #items: Item[] = []
  readonly #isBefore: (a: Item, b: Item) => boolean

  constructor(isBefore: (a: Item, b: Item) => boolean) {
    this.#isBefore = isBefore
  }

  get size(): number {
    return this.#items.length
  }

  first(): Item | undefined {
    return this.#items[0]
  }

  /** All items, in no order. */
  values(): Iterable<Item> {
    return this.#items
  }

  push(item: Item): void {
    this.#rise(item, this.#items.length)
  }

  shift(): Item | undefined {
    const first = this.#items[0]
    if (first !== undefined) this.remove(first)
    return first
  }

  /** Removes an item of this heap. */
  remove(item: Item): void {
    const index = item.heapIndex
    const last = this.#items.pop()
    item.heapIndex = -1
    if (last === undefined || last === item) return
    const parent = this.#items[(index - 1) >> 1]
    if (index > 0 && parent !== undefined && this.#isBefore(last, parent)) this.#rise(last, index)
    else this.#sink(last, index)
  }

  /** All items in order. */
  sorted(): readonly Item[] {
    return this.#items.toSorted((a, b) => (this.#isBefore(a, b) ? -1 : 1))
  }

  clear(): void {
    for (const item of this.#items) item.heapIndex = -1
    this.#items = []
  }

  #put(item: Item, index: number): void {
    this.#items[index] = item
    item.heapIndex = index
  }

  #rise(item: Item, from: number): void {
    let index = from
    while (index > 0) {
      const parentIndex = (index - 1) >> 1
      const parent = this.#items[parentIndex]
      if (parent === undefined || !this.#isBefore(item, parent)) break
      this.#put(parent, index)
      index = parentIndex
    }
    this.#put(item, index)
  }

  #sink(item: Item, from: number): void {
    let index = from
    for (;;) {
      let childIndex = 2 * index + 1
      let child = this.#items[childIndex]
      const right = this.#items[childIndex + 1]
      if (child !== undefined && right !== undefined && this.#isBefore(right, child)) {
        childIndex += 1
        child = right
      }
      if (child === undefined || !this.#isBefore(child, item)) break
      this.#put(child, index)
      index = childIndex
    }
    this.#put(item, index)
  }
}
