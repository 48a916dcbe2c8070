"""kafka-python: produce | consume | acked.

produce BOOTSTRAP TOPIC PARTITIONS COUNT CODEC    every delivery awaited
consume BOOTSTRAP TOPIC PARTITIONS COUNT          by assignment from offset 0, each byte verified
acked   BOOTSTRAP TOPIC PARTITIONS SECONDS FILE   idempotent writes for a while; each acknowledged number goes to FILE
"""
import sys
import time

import pattern
from kafka import KafkaConsumer, KafkaProducer, TopicPartition


def produce(bootstrap, topic, partitions, count, codec):
    writer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5,
                           compression_type=None if codec == "none" else codec)
    pending = [
        writer.send(topic, pattern.value(i), pattern.key(i), [pattern.header(i)], i % partitions)
        for i in range(count)
    ]
    writer.flush(120)
    for i, future in enumerate(pending):
        offset = future.get(timeout=120).offset
        if offset != i // partitions:
            raise SystemExit(f"record {i} was acknowledged at offset {offset}, wanted {i // partitions}")
    writer.close()


def consume(bootstrap, topic, partitions, count):
    reader = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none",
                           check_crcs=True, consumer_timeout_ms=60000)
    assignment = [TopicPartition(topic, p) for p in range(partitions)]
    reader.assign(assignment)
    for tp in assignment:
        reader.seek(tp, 0)
    position = [0] * partitions
    seen = 0
    for record in reader:
        p = record.partition
        where = f"{topic}-{p}@{record.offset}"
        if record.offset != position[p]:
            raise SystemExit(f"{where}: wanted offset {position[p]}")
        pattern.check(position[p] * partitions + p, record.key, record.value, record.headers, where)
        position[p] += 1
        seen += 1
        if seen == count:
            break
    if seen != count:
        raise SystemExit(f"only {seen} of {count} records came")
    ends = reader.end_offsets(assignment)
    if sum(ends.values()) != count or any(reader.beginning_offsets(assignment).values()):
        raise SystemExit(f"offsets {ends} do not add up to {count}")
    reader.close()


def acked(bootstrap, topic, partitions, seconds, path):
    writer = KafkaProducer(bootstrap_servers=bootstrap.split(","), acks="all", linger_ms=5, enable_idempotence=True,
                           retries=2**31 - 1, delivery_timeout_ms=120000)
    pending = []
    end = time.monotonic() + seconds
    i = 0
    while time.monotonic() < end:
        pending.append(writer.send(topic, b"%d" % i, b"%d" % i, partition=i % partitions))
        i += 1
        if i % 20 == 0:
            time.sleep(0.01)
    writer.flush(120)
    with open(path, "w") as out:
        for i, future in enumerate(pending):
            out.write(f"{i % partitions} {future.get(timeout=120).offset} {i}\n")
    writer.close()


if __name__ == "__main__":
    verb, bootstrap, topic, partitions, count, *rest = sys.argv[1:]
    if verb == "produce":
        produce(bootstrap, topic, int(partitions), int(count), rest[0])
    elif verb == "consume":
        consume(bootstrap, topic, int(partitions), int(count))
    elif verb == "acked":
        acked(bootstrap, topic, int(partitions), float(count), rest[0])
    else:
        raise SystemExit(__doc__)
