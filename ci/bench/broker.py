#!/usr/bin/env python3
"""Our broker beside Apache Kafka, one node each, on this machine, in one run, with the same librdkafka client.

Ours syncs to disk before it acknowledges; Kafka runs with its defaults (page cache). The two take turns, so
that a change of the machine's speed hits both; medians and ratios are printed.

usage: broker.py [--reps N] [--format text|json] [--tools DIR]     (after ci/interop/install)
"""
import argparse
import json
import os
import socket
import statistics
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))
from servers import Server  # noqa: E402

SIZES = [100, 1024]
PARTITIONS = 3


def create(bootstrap, topic, factor=1, partitions=PARTITIONS, patience=60):
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(topic, partitions, factor)]).values():
        future.result(patience)


def throughput(bootstrap, topic, size, seconds, factor=1):
    """Records per second with acks=all, batches of librdkafka's choice; every record acknowledged."""
    from confluent_kafka import Consumer, Producer, TopicPartition
    create(bootstrap, topic, factor)
    writer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5, "batch.size": 131072,
                       "queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 262144})
    message = {"value": b"x" * size}
    block = [message] * 500
    sent, at = 0, 0
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        while len(writer) > 400_000 or len(writer) * size > 200_000_000:
            writer.poll(0.002)
        queued = writer.produce_batch(topic, block, partition=at % PARTITIONS)
        sent += queued
        at += 1
        if queued < len(block):
            writer.poll(0.002)
    left = writer.flush(60)
    elapsed = time.monotonic() - started
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
    stored = sum(reader.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1] for p in range(PARTITIONS))
    reader.close()
    if left or stored != sent:
        raise SystemExit(f"{topic}: sent {sent}, stored {stored}, not acknowledged {left}")
    return sent / elapsed


def latency(bootstrap, topic, size, rate, seconds, factor=1):
    """p50 and p99 in ms from produce() to the delivery report, at a fixed rate, linger 0."""
    from confluent_kafka import Producer
    create(bootstrap, topic, factor)
    seen = []

    def delivered(error, message):
        if error is not None:
            raise SystemExit(f"{topic}: {error}")
        seen.append(message.latency() * 1000)

    # Room for all of it: who cannot hold the rate shows it in the latency.
    writer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0,
                       "queue.buffering.max.messages": 10_000_000, "queue.buffering.max.kbytes": 2_000_000})
    value = b"x" * size
    sent = 0
    warm = rate  # the first second is not counted
    started = time.monotonic()
    while sent < rate * (seconds + 1):
        due = int((time.monotonic() - started) * rate)
        while sent < due:
            writer.produce(topic, value, partition=sent % PARTITIONS, on_delivery=delivered)
            sent += 1
        writer.poll(0.001)
    if writer.flush(120):
        raise SystemExit(f"{topic}: some records were not acknowledged")
    counted = sorted(seen[warm:])
    return counted[len(counted) // 2], counted[len(counted) * 99 // 100]


def first_answer(server):
    """Milliseconds from starting the process to the answer of an ApiVersions request."""
    import subprocess
    request = struct.pack(">hhih", 18, 0, 1, -1)
    started = time.monotonic()
    server.process = subprocess.Popen(server.command, stdout=open(server.log, "ab"), stderr=subprocess.STDOUT,
                                      stdin=subprocess.DEVNULL)
    while time.monotonic() - started < 60:
        try:
            with socket.create_connection(("127.0.0.1", server.port), 1) as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                if len(connection.recv(4)) == 4:
                    return (time.monotonic() - started) * 1000
        except OSError:
            time.sleep(0.001)
    raise SystemExit(f"no answer within 60 s:\n{server.tail()}")


def memory_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(args):
    figures = {"burnin": {}, "kafka": {}}

    def add(kind, name, value):
        figures[kind].setdefault(name, []).append(value)

    for rep in range(args.reps):
        for kind in ["burnin", "kafka"]:
            with tempfile.TemporaryDirectory(prefix="burnin-bench-") as work:
                server = Server(kind, work, args.command.split(), f"{args.tools}/lib")
                try:
                    add(kind, "start to first answer, ms", first_answer(server))
                    time.sleep(3)
                    add(kind, "idle memory, MB", memory_mb(server.process.pid))
                    before = cpu_seconds(server.process.pid)
                    time.sleep(5)
                    add(kind, "idle CPU, % of a core", (cpu_seconds(server.process.pid) - before) / 5 * 100)
                    for size in SIZES:
                        # A JVM needs warming: an uncounted round for both.
                        throughput(server.bootstrap, f"warm-{size}", size, args.seconds / 2)
                        add(kind, f"produce {size} B, records/s", throughput(server.bootstrap, f"bulk-{size}", size, args.seconds))
                    for size in SIZES:
                        p50, p99 = latency(server.bootstrap, f"paced-{size}", size, 20_000, args.seconds)
                        add(kind, f"20,000/s {size} B p50, ms", p50)
                        add(kind, f"20,000/s {size} B p99, ms", p99)
                    add(kind, "memory after load, MB", memory_mb(server.process.pid))
                finally:
                    server.stop()
        print(f"round {rep + 1} of {args.reps} done", file=sys.stderr, flush=True)
    return figures


def arguments(what):
    """The command line of this script and of cluster.py; runs again in the virtual environment of the clients."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="length of each measured stretch")
    parser.add_argument("--command", default="target/release/burnin-broker", help="how our broker is started")
    parser.add_argument("--tools", default="target/interop")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    return parser


def parsed(parser):
    args = parser.parse_args()
    args.tools = os.path.abspath(args.tools)
    venv = f"{args.tools}/venv/bin/python"
    if os.path.exists(venv) and os.path.realpath(sys.prefix) != os.path.realpath(f"{args.tools}/venv"):
        os.execv(venv, [venv, *sys.argv])
    return args


def show(args, figures):
    medians = {name: {kind: statistics.median(figures[kind][name]) for kind in figures} for name in next(iter(figures.values()))}
    if args.format == "json":
        print(json.dumps({"reps": figures, "medians": medians}))
        return
    names = {"burnin": "burnin (fsync)", "kafka": "Kafka 4.3.1 (page cache)"}
    print(f"{'median of ' + str(args.reps):36}" + "".join(f" {names[kind]:>26}" for kind in figures) + f" {'ratio':>8}")
    for name, row in medians.items():
        ratio = row["burnin"] / row["kafka"] if row.get("kafka") and "burnin" in row else float("nan")
        print(f"{name:36}" + "".join(f" {row[kind]:>26,.1f}" for kind in figures) + f" {ratio:>8.2f}")


def main():
    args = parsed(arguments(__doc__))
    show(args, measure(args))


if __name__ == "__main__":
    main()
