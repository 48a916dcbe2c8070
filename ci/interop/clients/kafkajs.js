// kafkajs: produce BOOTSTRAP TOPIC PARTITIONS COUNT CODEC | offsets BOOTSTRAP TOPIC PARTITIONS COUNT.
// It reads through consumer groups only, so here it writes and lists offsets.
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const [verb, bootstrap, topic, partitionsText, countText, codec] = process.argv.slice(2)
const partitions = Number(partitionsText)
const count = Number(countText)
const kafka = new Kafka({ clientId: 'interop', brokers: [bootstrap], logLevel: logLevel.ERROR })

function value (i) {
  const unit = `value-${i}-`
  const size = 20 + (i * 7919) % 180
  return unit.repeat(Math.floor(size / unit.length) + 1).slice(0, size)
}

async function produce () {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let from = 0; from < count; from += 5000) {
    const messages = []
    for (let i = from; i < Math.min(count, from + 5000); i++) {
      messages.push({ key: `key-${i}`, value: value(i), partition: i % partitions, headers: { number: `${i}` } })
    }
    await producer.send({ topic, messages, acks: -1, compression: codec === 'gzip' ? CompressionTypes.GZIP : CompressionTypes.None })
  }
  await producer.disconnect()
}

async function offsets () {
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const sum = ends.reduce((total, end) => total + Number(end.high), 0)
  if (ends.length !== partitions || sum !== count) {
    throw new Error(`offsets ${JSON.stringify(ends)} do not add up to ${count}`)
  }
}

const verbs = { produce, offsets }
if (!verbs[verb]) throw new Error(`unknown verb ${verb} (known: ${Object.keys(verbs).join(', ')})`)
verbs[verb]().catch(error => { console.error(error); process.exit(1) })
