// kafkajs: produce BOOTSTRAP TOPIC PARTITIONS COUNT CODEC | offsets BOOTSTRAP TOPIC PARTITIONS COUNT
//        | acked BOOTSTRAP TOPIC PARTITIONS SECONDS FILE.
// It reads through consumer groups only, so here it writes and lists offsets.
const fs = require('fs')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const [verb, bootstrap, topic, partitionsText, countText, codec] = process.argv.slice(2)
const partitions = Number(partitionsText)
const count = Number(countText)
const kafka = new Kafka({ clientId: 'interop', brokers: bootstrap.split(','), logLevel: logLevel.NOTHING, retry: { retries: 1000, maxRetryTime: 2000 } })

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

// What failed is not sent again: kafkajs counts sequence numbers up before it sends and down when that fails, also when
// it has sent the batch to another leader meanwhile. The next batch then takes the numbers of one that is there, and is
// told that it is a duplicate.
async function acked () {
  const out = fs.openSync(codec, 'w')
  const end = Date.now() + count * 1000
  let producer = null
  for (let i = 0; Date.now() < end;) {
    const numbers = Array.from({ length: 30 }, () => i++)
    const messages = numbers.map(number => ({ key: `${number}`, value: `${number}`, partition: number % partitions }))
    try {
      if (!producer) {
        producer = kafka.producer({ maxInFlightRequests: 1, retry: { retries: 0 } })
        await producer.connect()
      }
      for (const answer of await producer.send({ topic, messages, acks: -1 })) {
        const mine = numbers.filter(number => number % partitions === answer.partition)
        mine.forEach((number, at) => fs.writeSync(out, `${answer.partition} ${Number(answer.baseOffset) + at} ${number}\n`))
      }
    } catch (error) {
      await producer.disconnect().catch(() => {})
      producer = null
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  fs.closeSync(out)
  if (producer) await producer.disconnect()
}

const verbs = { produce, offsets, acked }
if (!verbs[verb]) throw new Error(`unknown verb ${verb} (known: ${Object.keys(verbs).join(', ')})`)
verbs[verb]().catch(error => { console.error(error); process.exit(1) })
