"""confluent-kafka (librdkafka): produce | consume | acked.

produce BOOTSTRAP TOPIC PARTITIONS COUNT CODEC    idempotent, every delivery awaited
consume BOOTSTRAP TOPIC PARTITIONS COUNT          by assignment from offset 0, each byte verified
acked   BOOTSTRAP TOPIC PARTITIONS SECONDS FILE   writes for a while; each acknowledged number goes to FILE
"""
import sys
import time

import pattern
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition


def producer(bootstrap, codec="none"):
    return Producer({
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "compression.type": codec,
        "linger.ms": 5,
        "queue.buffering.max.messages": 500000,
        "delivery.timeout.ms": 120000,
    })


def produce(bootstrap, topic, partitions, count, codec):
    failures = []
    done = [0]

    def delivered(error, _message):
        done[0] += 1
        if error is not None:
            failures.append(str(error))

    writer = producer(bootstrap, codec)
    for i in range(count):
        writer.produce(topic, pattern.value(i), pattern.key(i), i % partitions,
                       on_delivery=delivered, headers=[pattern.header(i)])
        if i % 1000 == 0:
            writer.poll(0)
    left = writer.flush(120)
    if failures or left or done[0] != count:
        raise SystemExit(f"{len(failures)} of {count} failed, {left} left, first: {failures[:1]}")


def consume(bootstrap, topic, partitions, count):
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "interop", "enable.auto.commit": False,
                       "auto.offset.reset": "error", "check.crcs": True})
    reader.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    position = [0] * partitions
    deadline = time.monotonic() + 120
    seen = 0
    while seen < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {seen} of {count} records came within 120 s")
        for message in reader.consume(10000, 1.0):
            if message.error():
                raise KafkaException(message.error())
            p = message.partition()
            i = position[p] * partitions + p
            where = f"{topic}-{p}@{message.offset()}"
            if message.offset() != position[p]:
                raise SystemExit(f"{where}: wanted offset {position[p]}")
            pattern.check(i, message.key(), message.value(), message.headers(), where)
            position[p] += 1
            seen += 1
    low_high = [reader.get_watermark_offsets(TopicPartition(topic, p)) for p in range(partitions)]
    if sum(high for _, high in low_high) != count:
        raise SystemExit(f"watermarks {low_high} do not add up to {count}")
    reader.close()


def acked(bootstrap, topic, partitions, seconds, path):
    with open(path, "w", buffering=1) as out:
        def delivered(error, message):
            if error is None:
                out.write(f"{message.partition()} {message.offset()} {message.value().decode()}\n")

        writer = producer(bootstrap)
        end = time.monotonic() + seconds
        i = 0
        while time.monotonic() < end:
            writer.produce(topic, b"%d" % i, b"%d" % i, i % partitions, on_delivery=delivered)
            i += 1
            writer.poll(0)
            if i % 100 == 0:
                time.sleep(0.01)
        left = writer.flush(120)
        if left:
            raise SystemExit(f"{left} records were neither acknowledged nor refused within 120 s")


if __name__ == "__main__":
    verb, bootstrap, topic, partitions, *rest = sys.argv[1:]
    if verb == "produce":
        produce(bootstrap, topic, int(partitions), int(rest[0]), rest[1])
    elif verb == "consume":
        consume(bootstrap, topic, int(partitions), int(rest[0]))
    elif verb == "acked":
        acked(bootstrap, topic, int(partitions), float(rest[0]), rest[1])
    else:
        raise SystemExit(__doc__)
