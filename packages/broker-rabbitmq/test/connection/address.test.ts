import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { locationOf, parseAddress } from '../../src/connection/address.ts'

describe('connection strings', () => {
  test('say hosts, credentials, virtual host and parameters', () => {
    expect(parseAddress('amqps://u%40x:p%2F%3A@a,b:5673,[::1]:99/%2Fv?queueType=classic&heartbeat=30')).toMatchObject({
      tls: true,
      hosts: [
        { hostname: 'a', port: 5671 },
        { hostname: 'b', port: 5673 },
        { hostname: '::1', port: 99 },
      ],
      username: 'u@x',
      password: 'p/:',
      vhost: '/v',
      queueType: 'classic',
      heartbeat: 30,
    })
    expect(parseAddress()).toMatchObject({ username: 'guest', password: 'guest', vhost: '/', heartbeat: 120 })
    expect(parseAddress('amqp://')).toMatchObject({ hosts: [{ hostname: 'localhost', port: 5672 }] })
  })

  test('that are none are refused without their password', () => {
    for (const connection of [
      'http://s3cret@host',
      'amqp://u:s3cret@a b',
      'amqp://u:s3cret@host:0',
      'amqp://u:s3cret@host?speed=high',
      'amqp://u:s3cret@host?heartbeat=0',
      'amqp://u:s3cret@host?management=ftp://x',
      'amqp://u:%E0%A4s3cret@host',
    ]) {
      expect(() => parseAddress(connection)).toThrow(expect.objectContaining({ code: 'ZYQ_CONNECTION_STRING' }))
      expect(() => parseAddress(connection)).not.toThrow(/s3cret/)
    }
  })

  test('any user and password come through, and are in no location', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 20 }), fc.string({ unit: 'grapheme' }), (password, user) => {
        const address = parseAddress(`amqp://${encodeURIComponent(user)}:${encodeURIComponent(password)}@h1,h2/v`)
        expect(address).toMatchObject({ username: user, password })
        expect(locationOf(address)).toBe('h1:5672,h2:5672/v')
      }),
    )
  })
})
