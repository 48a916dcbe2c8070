#!/usr/bin/env python3
"""Three of our processes beside three of Apache Kafka, on this machine, in one run, with the same librdkafka client:
replication factor 3, min.insync.replicas 2, acks=all, the same session and election settings.

Ours syncs to disk on every replica before it acknowledges; Kafka runs with its defaults (page cache). The two take
turns, so that a change of the machine's speed hits both; medians and ratios are printed. The time from kill -9 of a
leader to the next acknowledged record is that of a record that was sent after the kill; with the default session
timeout it is the session timeout that dominates.

usage: cluster.py [--reps N] [--only burnin|kafka] [--session-ms MS] [--format text|json] [--tools DIR]
"""
import os
import sys
import tempfile
import time

from broker import SIZES, arguments, cpu_seconds, create, latency, memory_mb, parsed, show, throughput

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))
from servers import Cluster  # noqa: E402

RATE = 20_000
PATIENCE = 120


def first_ack(cluster):
    """Milliseconds from starting three processes to the first acknowledged record."""
    from confluent_kafka import KafkaException, Producer
    acked = []
    started = time.monotonic()
    for node in cluster.nodes:
        node.launch()
    # Asking before anybody listens would have the client wait for its reconnect backoff.
    for node in cluster.nodes:
        node.wait_listening()
    while time.monotonic() - started < PATIENCE:
        try:
            create(cluster.bootstrap, "first", 3, 1, patience=2)
            break
        except TimeoutError:
            pass  # nobody knew a controller yet
        except KafkaException as error:
            if "ALREADY_EXISTS" in str(error):
                break
            time.sleep(0.02)
    writer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0, "retry.backoff.ms": 20})
    writer.produce("first", b"x", on_delivery=lambda error, _: acked.append(error))
    while not acked and time.monotonic() - started < PATIENCE:
        writer.poll(0.002)
    if not acked or acked[0]:
        raise SystemExit(f"nothing was acknowledged within {PATIENCE} s: {acked}\n{cluster.nodes[0].tail()}")
    return (time.monotonic() - started) * 1000


def partition(bootstrap, topic):
    """Leader and size of the ISR of the topic's only partition."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient
    try:
        info = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=5).topics[topic].partitions[0]
        return info.leader, len(info.isrs)
    except (KafkaException, KeyError):
        return -1, 0


def wait_full_isr(bootstrap, topic):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        leader, isr = partition(bootstrap, topic)
        if leader > 0 and isr == 3:
            return leader
        time.sleep(0.1)
    raise SystemExit(f"{topic}: not all replicas were in sync within {PATIENCE} s")


def failover(cluster, topic):
    """Milliseconds from kill -9 of the leader to the acknowledgement of a record that was sent after it."""
    from confluent_kafka import Producer
    create(cluster.bootstrap, topic, 3, 1)
    leader = wait_full_isr(cluster.bootstrap, topic)
    acked = []

    def delivered(error, message):
        if error is not None:
            raise SystemExit(f"{topic}: {error}")
        acked.append((float(message.value()), time.monotonic()))

    writer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 0, "enable.idempotence": True})
    started, killed = time.monotonic(), None
    while time.monotonic() - started < PATIENCE:
        now = time.monotonic()
        writer.produce(topic, repr(now).encode(), on_delivery=delivered)
        writer.poll(0.001)
        if killed is None and now - started > 1:
            cluster.node(leader).kill()
            killed = time.monotonic()
        if killed and acked and acked[-1][0] > killed:
            break
    after = [at for sent, at in acked if killed and sent > killed]
    if not after:
        raise SystemExit(f"{topic}: nothing was acknowledged within {PATIENCE} s after the kill of {leader}")
    if writer.flush(60):
        raise SystemExit(f"{topic}: some records were not acknowledged")
    cluster.node(leader).start()
    wait_full_isr(cluster.bootstrap, topic)
    return (after[0] - killed) * 1000


def measure(args):
    kinds = [args.only] if args.only else ["burnin", "kafka"]
    figures = {kind: {} for kind in kinds}
    more = "".join(f"{name}={value}\n" for name, value in {
        "min.insync.replicas": 2, "default.replication.factor": 3, "log.cleaner.dedupe.buffer.size": 2097152,
        "broker.session.timeout.ms": args.session_ms, "broker.heartbeat.interval.ms": min(2000, args.session_ms // 4),
    }.items())
    for rep in range(args.reps):
        for kind in kinds:
            def add(name, value):
                figures[kind].setdefault(name, []).append(value)

            with tempfile.TemporaryDirectory(prefix="burnin-bench-") as work:
                cluster = Cluster(kind, work, args.command.split(), f"{args.tools}/lib", more=more)
                pids = lambda: [node.process.pid for node in cluster.nodes]  # noqa: E731
                try:
                    add("start to first ack, ms", first_ack(cluster))
                    time.sleep(3)
                    add("idle memory of three, MB", sum(map(memory_mb, pids())))
                    before = sum(map(cpu_seconds, pids()))
                    time.sleep(5)
                    add("idle CPU of three, % of a core", (sum(map(cpu_seconds, pids())) - before) / 5 * 100)
                    for size in SIZES:
                        # A JVM needs warming: an uncounted round for both.
                        throughput(cluster.bootstrap, f"warm-{size}", size, args.seconds / 2, 3)
                        add(f"produce {size} B, records/s",
                            throughput(cluster.bootstrap, f"bulk-{size}", size, args.seconds, 3))
                    for size in SIZES:
                        p50, p99 = latency(cluster.bootstrap, f"paced-{size}", size, RATE, args.seconds, 3)
                        add(f"{RATE:,}/s {size} B p50, ms", p50)
                        add(f"{RATE:,}/s {size} B p99, ms", p99)
                    add("memory of three after load, MB", sum(map(memory_mb, pids())))
                    for kill in range(args.kills):
                        add("kill -9 of leader to next ack, ms", failover(cluster, f"failover-{kill}"))
                finally:
                    cluster.kill()
            seen = ", ".join(f"{name}: {values[-1]:,.0f}" for name, values in figures[kind].items())
            print(f"round {rep + 1} of {args.reps}, {kind}: {seen}", file=sys.stderr, flush=True)
    return figures


def main():
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=["burnin", "kafka"], help="measure one alone")
    parser.add_argument("--session-ms", type=int, default=9000, help="broker.session.timeout.ms of both")
    parser.add_argument("--kills", type=int, default=3, help="leaders killed in each round")
    args = parsed(parser)
    show(args, measure(args))


if __name__ == "__main__":
    main()
