// kafkajs as a client. Usage: node roundtrip.mjs BOOTSTRAP TOPIC GROUP [CA.pem [CLIENT.pem]]; prints one JSON object of
// what it saw. With an authority's certificates it speaks TLS, with CLIENT.pem it shows a certificate of its own. With
// KAFKA_SASL=MECHANISM:USER:PASSWORD it logs in; for OAUTHBEARER the password is a token.
import { readFileSync } from 'node:fs'
import kafkajs from 'kafkajs'

const { Kafka, CompressionTypes, logLevel } = kafkajs
const [bootstrap, topic, group, ca, own] = process.argv.slice(2)
const ssl = ca && { ca: readFileSync(ca), ...(own && { key: readFileSync(own), cert: readFileSync(own) }) }
const [mechanism, username, password] = (process.env.KAFKA_SASL || '').split(':')
const oauthBearerProvider = async () => ({ value: password })
const sasl = mechanism ? { mechanism: mechanism.toLowerCase(), username, password, oauthBearerProvider } : undefined
const kafka = new Kafka({ clientId: 'interop', brokers: [bootstrap], logLevel: logLevel.ERROR, ssl, sasl })
const seen = {}

function deadline(promise, what) {
  const timeout = new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} took too long`)), 30000).unref())
  return Promise.race([promise, timeout])
}

async function consume(groupId, count) {
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const messages = []
  await deadline(new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        messages.push({
          partition,
          offset: message.offset,
          key: message.key && message.key.toString(),
          value: message.value && message.value.toString(),
          headers: Object.fromEntries(Object.entries(message.headers).map(([k, v]) => [k, v && v.toString()])),
          timestamp: message.timestamp,
        })
        if (messages.length === count) resolve()
      },
    })
  }), `consuming as ${groupId}`)
  await consumer.disconnect() // commits
  return messages
}

const admin = kafka.admin()
await admin.connect()
seen.created = await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true })
seen.partitions = (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length

const producer = kafka.producer()
await producer.connect()
await producer.send({
  topic,
  acks: -1,
  compression: CompressionTypes.GZIP,
  messages: [
    { key: 'a', value: 'one', headers: { h: 'x' }, timestamp: '1700000000000', partition: 0 },
    { key: null, value: 'two', partition: 0 },
    { key: 'c', value: null, partition: 0 },
  ],
})
const idempotent = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
await idempotent.connect()
for (let i = 0; i < 20; i++) await idempotent.send({ topic, messages: [{ value: `i${i}`, partition: 1 + (i % 2) }] })

seen.messages = await consume(group, 23)
seen.offsets = (await admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => ({ partition, low, high }))
seen.byTime = await admin.fetchTopicOffsetsByTimestamp(topic, 1700000000001)
seen.committed = (await admin.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions
await admin.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '1' }] })
seen.again = await consume(group, 2)
seen.groups = (await admin.listGroups()).groups.map(each => each.groupId)
seen.described = (await admin.describeGroups([group])).groups[0].state
await admin.deleteGroups([group])
seen.configs = (await admin.describeConfigs({ resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }] }))
  .resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue])
await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '2' }] })
seen.afterDelete = (await admin.fetchTopicOffsets(topic)).find(each => each.partition === 0).low
await admin.deleteTopics({ topics: [topic] })
await Promise.all([producer.disconnect(), idempotent.disconnect(), admin.disconnect()])
console.log(JSON.stringify(seen))
process.exit(0)
