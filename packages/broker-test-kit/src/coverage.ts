import type { Conditional, Feature } from './behaviour.ts'
import type { BrokerHarness } from './harness.ts'

/** Decides which tests are there, and counts them. */
export class Coverage {
  readonly #harness: BrokerHarness
  readonly #leftOut = new Map<Feature, number>()
  #registered = 0
  #ofAbsent = 0
  #passed = 0
  #repeated = 0

  constructor(harness: BrokerHarness) {
    this.#harness = harness
  }

  /** The whole name of a test, with what the broker does not have; nothing if the test does not apply. */
  nameOf(name: string, { conditions }: Conditional): string | undefined {
    const unmet = conditions.find(({ feature, isPresent }) => feature.isIn(this.#harness) !== isPresent)
    if (unmet !== undefined) {
      if (unmet.isPresent) this.#leftOut.set(unmet.feature, (this.#leftOut.get(unmet.feature) ?? 0) + 1)
      return undefined
    }
    this.#registered++
    const absent = conditions.filter(({ isPresent }) => !isPresent).map(({ feature }) => `no ${feature.name}`)
    if (absent.length === 0) return name
    this.#ofAbsent++
    return `${name} (this broker has ${absent.join(' and ')})`
  }

  async run(body: () => Promise<void>): Promise<void> {
    await body()
    this.#passed++
  }

  /** A test runs again: this process was too late for the leases of its jobs. */
  noteRepeat(): void {
    this.#repeated++
  }

  /** One line that tells how much was tested until now, and what was not. */
  summary(): string {
    const ofAbsent = this.#ofAbsent === 0 ? '' : `, ${this.#ofAbsent} of them of what this broker does not have`
    return [
      `${this.#harness.sample.name}: ${this.#passed} of ${this.#registered} conformance tests passed${ofAbsent}`,
      ...(this.#repeated === 0 ? [] : [`${this.#repeated} were run again because this process was late`]),
      ...this.#listLeftOut('broker', 'not tested because the broker has no'),
      ...this.#listLeftOut('harness', 'not tested because the harness has no'),
    ].join('; ')
  }

  #listLeftOut(of: Feature['of'], reason: string): readonly string[] {
    const counts = [...this.#leftOut].filter(([feature]) => feature.of === of)
    if (counts.length === 0) return []
    return [`${reason} ${counts.map(([{ name }, count]) => `${name} (${count})`).join(', ')}`]
  }
}
