import type { Broker } from '@zyqueue/core/broker'
import { reclaimOf } from './reclaim.ts'
import type { BrokerHarness } from './harness.ts'
import type { Fixture } from './fixture.ts'

type Body = (fixture: Fixture) => Promise<void>

/** An optional part of a broker or of a harness. */
export interface Feature {
  /** As in "this broker has no …". */
  readonly name: string
  /** Whether the broker or the harness must have it. */
  readonly of: 'broker' | 'harness'
  isIn(harness: BrokerHarness): boolean
}

/** A test that runs if the given features are present, or absent. */
export interface Conditional {
  readonly body: Body
  readonly conditions: readonly { readonly feature: Feature; readonly isPresent: boolean }[]
}

/** Tests of one theme, by name. They depend on the capabilities and never on the broker's name. */
export type Behaviours = Readonly<Record<string, Body | Conditional>>

export function conditional(behaviour: Body | Conditional): Conditional {
  return typeof behaviour === 'function' ? { body: behaviour, conditions: [] } : behaviour
}

/** Tests that run only if the broker or the harness has the feature. */
export function ifPresent(feature: Feature, behaviours: Behaviours): Behaviours {
  return onCondition(feature, true, behaviours)
}

/** Tests that run only if the feature is absent. Their names end with the missing feature. */
export function ifAbsent(feature: Feature, behaviours: Behaviours): Behaviours {
  return onCondition(feature, false, behaviours)
}

function onCondition(feature: Feature, isPresent: boolean, behaviours: Behaviours): Behaviours {
  return Object.fromEntries(
    Object.entries(behaviours).map(([name, behaviour]) => {
      const { body, conditions } = conditional(behaviour)
      return [name, { body, conditions: [{ feature, isPresent }, ...conditions] }]
    }),
  )
}

function ofBroker(name: string, has: (broker: Broker) => boolean): Feature {
  return { name, of: 'broker', isIn: ({ sample }) => has(sample) }
}

type Hook =
  | 'killConnection'
  | 'stallConnection'
  | 'healConnection'
  | 'loseAnswer'
  | 'openConnections'
  | 'restart'
  | 'storeUnreadable'
  | 'brokerWithFinding'

function hook(name: Hook): Feature {
  return { name, of: 'harness', isIn: (harness) => harness[name] !== undefined }
}

/** The largest body that the suite sends. It does not test the limit of a broker that accepts larger ones. */
export const MAX_BODY_SENT = 32 * 1024 * 1024

export const feature = {
  delays: ofBroker('delays', ({ capabilities }) => capabilities.delay !== 'none'),
  renewableLeases: ofBroker('renewable leases', ({ leases }) => leases.kind === 'renewable'),
  reclaim: ofBroker('reclaim', ({ leases }) => reclaimOf(leases) !== undefined),
  deadLetters: ofBroker('dead letters', ({ capabilities }) => capabilities.deadLetter !== 'none'),
  deliveryCounts: ofBroker('delivery counts', ({ capabilities }) => capabilities.deliveryCount !== 'none'),
  priorities: ofBroker('priorities', ({ capabilities }) => capabilities.priorities > 1),
  order: ofBroker('order', ({ capabilities }) => capabilities.ordered !== false),
  nativeRelease: ofBroker('native release', ({ capabilities }) => capabilities.release === 'native'),
  idempotentPublish: ofBroker('idempotent publish', ({ capabilities }) => capabilities.idempotentPublish),
  calls: ofBroker('calls', ({ calls }) => calls !== undefined),
  workers: ofBroker('list of workers', ({ admin }) => admin.workers !== undefined),
  jobs: ofBroker('list of jobs', ({ admin }) => admin.jobs !== undefined),
  cancel: ofBroker('cancel', ({ admin }) => admin.cancel !== undefined),
  promote: ofBroker('promote', ({ admin }) => admin.promote !== undefined),
  bodyLimit: ofBroker('limit of 32 MiB for bodies', ({ capabilities }) => capabilities.maxBodyBytes <= MAX_BODY_SENT),
  killConnection: hook('killConnection'),
  stallConnection: hook('stallConnection'),
  healConnection: hook('healConnection'),
  loseAnswer: hook('loseAnswer'),
  openConnections: hook('openConnections'),
  restart: hook('restart'),
  storeUnreadable: hook('storeUnreadable'),
  brokerWithFinding: hook('brokerWithFinding'),
} satisfies Readonly<Record<string, Feature>>
