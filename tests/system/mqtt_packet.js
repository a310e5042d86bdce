// SPDX-License-Identifier: BSD-3-Clause
/*
 * What npm's mqtt-packet encodes means the same to the gateway, and the other way round: mqtt_packet.js PORT [SEED]
 *
 * Every packet of both versions, all properties, and messages with random properties. Exit: 0, or 1 with the difference.
 */
'use strict'
const assert = require('assert')
const net = require('net')
const packet = require('mqtt-packet')

const port = Number(process.argv[2])
let seed = Number(process.argv[3] || Date.now() % 2147483647)
console.log(`# seed ${seed}`)

function random (n) {
  seed = (seed * 48271) % 2147483647
  return seed % n
}

/* A connection: what it hears waits in a queue. */
class Peer {
  constructor (version) {
    this.options = { protocolVersion: version }
    this.heard = []
    this.waiting = null
    this.parser = packet.parser(this.options)
    this.parser.on('packet', p => this.take(p))
    this.parser.on('error', e => this.take({ cmd: `error ${e.message}` }))
    this.socket = net.connect(port, '127.0.0.1')
    this.socket.on('data', data => this.parser.parse(data))
    this.socket.on('close', () => this.take({ cmd: 'closed' }))
    this.socket.on('error', () => {})
  }

  take (p) {
    if (this.waiting) {
      const waiting = this.waiting
      this.waiting = null
      waiting(p)
    } else {
      this.heard.push(p)
    }
  }

  say (p) {
    this.socket.write(packet.generate(p, this.options))
  }

  async hear (cmd) {
    const got = this.heard.length ? this.heard.shift() : await new Promise(resolve => { this.waiting = resolve })
    assert.strictEqual(got.cmd, cmd, `${cmd} wanted, heard ${JSON.stringify(got)}`)
    return got
  }

  async connect (extra) {
    this.say({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: this.options.protocolVersion, clean: true, keepalive: 30, ...extra })
    return this.hear('connack')
  }

  /* Publishes with the QoS's whole exchange. */
  async publish (p) {
    this.say({ cmd: 'publish', dup: false, retain: false, messageId: 7, ...p })
    if (p.qos === 1) return this.hear('puback')
    if (p.qos === 2) {
      assert.strictEqual((await this.hear('pubrec')).messageId, 7)
      this.say({ cmd: 'pubrel', messageId: 7, qos: 1 })
      return this.hear('pubcomp')
    }
  }

  /* The next message, acknowledged. */
  async message () {
    const got = await this.hear('publish')
    if (got.qos === 1) this.say({ cmd: 'puback', messageId: got.messageId })
    if (got.qos === 2) {
      this.say({ cmd: 'pubrec', messageId: got.messageId })
      assert.strictEqual((await this.hear('pubrel')).messageId, got.messageId)
      this.say({ cmd: 'pubcomp', messageId: got.messageId })
    }
    return got
  }
}

const everything = {
  payloadFormatIndicator: true,
  messageExpiryInterval: 1000,
  responseTopic: 'back',
  correlationData: Buffer.from([0, 1, 255]),
  userProperties: { one: '1', two: ['a', 'b'] },
  contentType: 'text/plain'
}

/* What a subscriber hears is what the publisher said. */
function same (got, sent, id) {
  const properties = { ...got.properties }
  assert.strictEqual(got.payload.toString('hex'), Buffer.from(sent.payload).toString('hex'))
  assert.strictEqual(got.topic, sent.topic)
  assert.strictEqual(got.qos, sent.qos)
  assert.deepStrictEqual(properties.subscriptionIdentifier, id)
  delete properties.subscriptionIdentifier
  delete properties.topicAlias
  if (properties.messageExpiryInterval !== undefined) {
    assert(properties.messageExpiryInterval <= sent.properties.messageExpiryInterval)
    assert(properties.messageExpiryInterval >= sent.properties.messageExpiryInterval - 20)
    properties.messageExpiryInterval = sent.properties.messageExpiryInterval
  }
  assert.deepStrictEqual(JSON.parse(JSON.stringify(properties)), JSON.parse(JSON.stringify(sent.properties || {})))
}

async function version5 () {
  const a = new Peer(5)
  const b = new Peer(5)
  const ack = await a.connect({
    clientId: 'npm-a',
    properties: { sessionExpiryInterval: 100, receiveMaximum: 20, maximumPacketSize: 100000, requestProblemInformation: true, userProperties: { a: 'b' } },
    will: { topic: 'npm/will', payload: Buffer.from('gone'), qos: 2, retain: false, properties: { willDelayInterval: 0, ...everything } }
  })
  assert.strictEqual(ack.reasonCode, 0)
  assert.strictEqual(ack.sessionPresent, false)
  assert(ack.properties.receiveMaximum > 0 && ack.properties.maximumPacketSize > 1000)
  const assigned = await b.connect({ clientId: '' })
  assert(assigned.properties.assignedClientIdentifier.length > 0)

  b.say({
    cmd: 'subscribe',
    messageId: 1,
    properties: { subscriptionIdentifier: 268435455, userProperties: { x: 'y' } },
    subscriptions: [{ topic: 'npm/#', qos: 2, nl: false, rap: true, rh: 0 }, { topic: 'no/#/such', qos: 1, nl: false, rap: false, rh: 2 }]
  })
  const granted = (await b.hear('suback')).granted
  assert.deepStrictEqual(granted, [2, 0x8f])

  for (const qos of [0, 1, 2]) {
    const sent = { topic: 'npm/1', payload: `payload ${qos}`, qos, properties: everything }
    await a.publish(sent)
    same(await b.message(), sent, 268435455)
  }
  for (let i = 0; i < 300; i++) {
    const properties = {}
    for (const name of Object.keys(everything)) if (random(2)) properties[name] = everything[name]
    const payload = properties.payloadFormatIndicator ? 'ü'.repeat(random(300)) : Buffer.alloc(random(20000), random(256))
    const sent = { topic: `npm/${'x'.repeat(1 + random(200))}`, payload, qos: random(3), properties }
    await a.publish(sent)
    same(await b.message(), sent, 268435455)
  }
  a.socket.destroy()
  same(await b.message(), { topic: 'npm/will', payload: 'gone', qos: 2, properties: everything }, 268435455)

  b.say({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['npm/#', 'never'], properties: { userProperties: { q: 'r' } } })
  assert.deepStrictEqual((await b.hear('unsuback')).granted, [0, 0x11])
  b.say({ cmd: 'pingreq' })
  await b.hear('pingresp')
  b.say({ cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: 'none' } })
  assert.strictEqual((await b.hear('disconnect')).reasonCode, 0x82)

  const c = new Peer(5)
  assert.strictEqual((await c.connect({ clientId: 'c', properties: { authenticationMethod: 'SCRAM', authenticationData: Buffer.from('x') } })).reasonCode, 0x8c)
  const d = new Peer(5)
  await d.connect({ clientId: 'd' })
  d.say({ cmd: 'publish', topic: 'a/+', payload: '', qos: 0, dup: false, retain: false })
  assert.strictEqual((await d.hear('disconnect')).reasonCode, 0x90)
  const e = new Peer(5)
  await e.connect({ clientId: 'e', properties: { sessionExpiryInterval: 0 } })
  e.say({ cmd: 'disconnect', reasonCode: 4, properties: { sessionExpiryInterval: 5, reasonString: 'no' } })
  assert.strictEqual((await e.hear('disconnect')).reasonCode, 0x82)
  const f = new Peer(5)
  await f.connect({ clientId: 'f' })
  f.say({ cmd: 'disconnect', reasonCode: 0 })
  await f.hear('closed')
}

async function version3 () {
  const a = new Peer(4)
  const b = new Peer(4)
  await a.connect({ clientId: 'three-a', will: { topic: 'three/will', payload: Buffer.from('gone'), qos: 1, retain: false } })
  assert.strictEqual((await b.connect({ clientId: 'three-b', clean: false })).returnCode, 0)
  b.say({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 'three/+', qos: 2 }, { topic: 'x/#/y', qos: 0 }] })
  assert.deepStrictEqual((await b.hear('suback')).granted, [2, 0x80])
  for (let i = 0; i < 100; i++) {
    const sent = { topic: `three/${i}`, payload: Buffer.alloc(random(70000), i), qos: i % 3 }
    await a.publish(sent)
    const got = await b.message()
    assert(got.payload.equals(sent.payload) && got.topic === sent.topic && got.qos === sent.qos && !got.retain && !got.dup)
  }
  a.socket.destroy()
  assert.strictEqual((await b.message()).payload.toString(), 'gone')
  b.say({ cmd: 'unsubscribe', messageId: 10, unsubscriptions: ['three/+'] })
  assert.strictEqual((await b.hear('unsuback')).messageId, 10)
  b.say({ cmd: 'pingreq' })
  await b.hear('pingresp')
  b.say({ cmd: 'disconnect' })
  await b.hear('closed')
  const again = new Peer(4)
  assert.strictEqual((await again.connect({ clientId: 'three-b', clean: false })).sessionPresent, true)
  again.say({ cmd: 'disconnect' })
  await again.hear('closed')
}

async function main () {
  await version5()
  await version3()
  process.exit(0)
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
