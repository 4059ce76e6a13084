import type { Conditional, Feature } from './behaviour.ts'
import type { BrokerHarness } from './harness.ts'

/** Selects the tests that apply to a broker, and counts them. */
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

  /** The name of a test with the features that the broker lacks; undefined if the test does not apply. */
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

  /** Counts a test that runs again because the process was blocked. */
  noteRepeat(): void {
    this.#repeated++
  }

  /** One line with the number of tests that passed so far and the number that was left out. */
  summary(): string {
    const ofAbsent = this.#ofAbsent === 0 ? '' : `, ${this.#ofAbsent} of them for missing features`
    return [
      `${this.#harness.sample.name}: ${this.#passed} of ${this.#registered} conformance tests passed${ofAbsent}`,
      ...(this.#repeated === 0 ? [] : [`${this.#repeated} ran again because this process was blocked`]),
      ...this.#listLeftOut('broker', 'left out because the broker has no'),
      ...this.#listLeftOut('harness', 'left out because the harness has no'),
    ].join('; ')
  }

  #listLeftOut(of: Feature['of'], reason: string): readonly string[] {
    const counts = [...this.#leftOut].filter(([feature]) => feature.of === of)
    if (counts.length === 0) return []
    return [`${reason} ${counts.map(([{ name }, count]) => `${name} (${count})`).join(', ')}`]
  }
}
