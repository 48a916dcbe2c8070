#!/usr/bin/env python3
"""Real Kafka clients and Apache Kafka's own tools against a broker with its data on disk.

Each row is a client, a verb and a compression; a row passes when every byte was verified. After the rows the
broker is killed (-9) in the middle of writes, started again, and everything is verified once more; at last
Apache's DumpLogSegments must accept every segment, index and snapshot that was written.

usage: interop.py [--server burnin|kafka] [--count N] [--only TEXT] [--keep]
`--server kafka` runs the same rows against Apache Kafka: that proves the script.
"""
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "clients"))
import pattern  # noqa: E402
from servers import Server  # noqa: E402

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 3
TOOLS = "org.apache.kafka.tools"


class Interop:
    def __init__(self, args, work):
        self.args, self.work, self.rows = args, work, []
        self.tools = args.tools
        self.server = self.servers()
        self.written = {}  # topic -> records

    def servers(self):
        """What is asked."""
        work = os.path.join(self.work, self.args.server)
        return Server(self.args.server, work, self.args.command.split(), f"{self.tools}/lib")

    # -- running things ---------------------------------------------------------------------------------
    def run(self, command, stdin=None, seconds=0):
        """`seconds` is how long it goes on by itself; on top of that it may take four minutes."""
        timeout = 240 + seconds
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        if done.returncode:
            text = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
            raise Failure(f"{' '.join(command[:6])} ended with {done.returncode}: " + "\n".join(text[-12:]))
        return done.stdout

    def java(self, tool, *words, stdin=None):
        return self.run(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                         "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{self.tools}/lib/*", tool, *words], stdin)

    def python(self, program, *words, seconds=0):
        return self.run([f"{self.tools}/venv/bin/python", os.path.join(HERE, "clients", program), *map(str, words)],
                        seconds=seconds)

    def node(self, *words, seconds=0):
        return self.run(["env", f"NODE_PATH={self.tools}/node_modules", "KAFKAJS_NO_PARTITIONER_WARNING=1", "node",
                         os.path.join(HERE, "clients", "kafkajs.js"), *map(str, words)], seconds=seconds)

    def row(self, name, step):
        if self.args.only and self.args.only not in name:
            return
        started = time.monotonic()
        try:
            step()
            outcome = "ok"
        except Failure as failure:
            outcome = f"FAILED: {failure}"
        except SystemExit as failure:
            outcome = f"FAILED: {failure}"
        except subprocess.TimeoutExpired as failure:
            outcome = f"FAILED: {failure}"
        self.rows.append((name, outcome))
        print(f"{name:58} {outcome} ({time.monotonic() - started:.1f} s)", flush=True)

    # -- topics -----------------------------------------------------------------------------------------
    def create(self, topic, partitions=PARTITIONS):
        self.java(f"{TOOLS}.TopicCommand", "--bootstrap-server", self.server.bootstrap, "--create", "--topic", topic,
                  "--partitions", str(partitions), "--replication-factor", "1")

    def topics(self):
        b = self.server.bootstrap
        self.create("admin", 1)
        self.java(f"{TOOLS}.TopicCommand", "--bootstrap-server", b, "--alter", "--topic", "admin", "--partitions", "4")
        text = self.java(f"{TOOLS}.TopicCommand", "--bootstrap-server", b, "--describe", "--topic", "admin").decode()
        expect("PartitionCount: 4" in text and "ReplicationFactor: 1" in text and "Isr: 1" in text, text)
        self.java("kafka.admin.ConfigCommand", "--bootstrap-server", b, "--alter", "--entity-type", "topics",
                  "--entity-name", "admin", "--add-config", "retention.ms=3600000")
        text = self.java("kafka.admin.ConfigCommand", "--bootstrap-server", b, "--describe", "--entity-type", "topics",
                         "--entity-name", "admin").decode()
        expect("retention.ms=3600000" in text, text)
        listed = self.java(f"{TOOLS}.TopicCommand", "--bootstrap-server", b, "--list").decode().split()
        expect("admin" in listed, listed)
        self.java(f"{TOOLS}.TopicCommand", "--bootstrap-server", b, "--delete", "--topic", "admin")
        listed = self.java(f"{TOOLS}.TopicCommand", "--bootstrap-server", b, "--list").decode().split()
        expect("admin" not in listed, listed)

    def offsets(self, topic, count):
        text = self.java(f"{TOOLS}.GetOffsetShell", "--bootstrap-server", self.server.bootstrap, "--topic", topic).decode()
        ends = [int(line.rsplit(":", 1)[1]) for line in text.split() if line.startswith(topic + ":")]
        expect(sum(ends) == count, f"{topic}: {ends} do not add up to {count}")

    # -- writers ----------------------------------------------------------------------------------------
    def produce(self, client, codec, count):
        topic = f"{client}-{codec}"
        self.create(topic)
        b = self.server.bootstrap
        if client == "confluent":
            self.python("confluent.py", "produce", b, topic, PARTITIONS, count, codec)
        elif client == "kafka-python":
            self.python("kafka_python.py", "produce", b, topic, PARTITIONS, count, codec)
        elif client == "kafkajs":
            self.node("produce", b, topic, PARTITIONS, count, codec)
        elif client == "kcat":
            for p in range(PARTITIONS):
                # kcat has one set of headers per process, so each record here carries the partition's first number.
                lines = b"".join(b"%s\t%s\n" % (pattern.key(i), pattern.value(i)) for i in range(p, count, PARTITIONS))
                self.run(["kcat", "-P", "-b", b, "-t", topic, "-p", str(p), "-K", "\t", "-z", codec, "-H", f"number={p}",
                          "-X", "enable.idempotence=true"], lines)
        elif client == "console":
            raise AssertionError("the console producer has a topic of its own")
        self.written[topic] = count

    def console_producer(self, codec, count):
        """Apache's console producer picks partitions by key, so its topic has one."""
        topic = f"console-{codec}"
        self.create(topic, 1)
        lines = b"".join(b"number:%d\t%s\t%s\n" % (i, pattern.key(i), pattern.value(i)) for i in range(count))
        self.java(f"{TOOLS}.ConsoleProducer", "--bootstrap-server", self.server.bootstrap, "--topic", topic,
                  "--compression-codec", codec, "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
                  "--command-property", "max.block.ms=60000", stdin=lines)
        self.written[topic] = count

    # -- readers ----------------------------------------------------------------------------------------
    def consume(self, client, topic, count):
        b = self.server.bootstrap
        partitions = 1 if topic.startswith("console-") else PARTITIONS
        if client == "confluent":
            self.python("confluent.py", "consume", b, topic, partitions, count)
        elif client == "kafka-python":
            self.python("kafka_python.py", "consume", b, topic, partitions, count)
        elif client == "kafkajs":
            self.node("offsets", b, topic, partitions, count)
        elif client == "kcat":
            for p in range(partitions):
                text = self.run(["kcat", "-C", "-b", b, "-t", topic, "-p", str(p), "-o", "beginning", "-e", "-q", "-X",
                                 "check.crcs=true", "-f", "%o\t%h\t%k\t%s\n"])
                self.verify_lines(text, topic, p, partitions, count, lambda i: b"number=%d" % i)
        elif client == "console":
            for p in range(partitions):
                wanted = len(range(p, count, partitions))
                text = self.java(f"{TOOLS}.consumer.ConsoleConsumer", "--bootstrap-server", b, "--topic", topic,
                                 "--partition", str(p), "--offset", "0", "--max-messages", str(wanted),
                                 "--timeout-ms", "60000", "--formatter-property", "print.offset=true",
                                 "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true")
                text = text.replace(b"Offset:", b"")
                self.verify_lines(text, topic, p, partitions, count, lambda i: b"number:%d" % i)

    def verify_lines(self, text, topic, p, partitions, count, header):
        numbers = range(p, count, partitions)
        lines = text.splitlines()
        expect(len(lines) == len(numbers), f"{topic}-{p}: {len(lines)} records, wanted {len(numbers)}")
        for at, i in enumerate(numbers):
            number = p if topic.startswith("kcat-") else i
            wanted = b"%d\t%s\t%s\t%s" % (at, header(number), pattern.key(i), pattern.value(i))
            expect(lines[at] == wanted, f"{topic}-{p}@{at}: {lines[at]!r}, wanted {wanted!r}")

    # -- the rows ---------------------------------------------------------------------------------------
    def all(self):
        count = self.args.count
        each = count // len(CODECS)
        self.server.start()
        self.row("Apache TopicCommand, ConfigCommand", self.topics)
        for client in ["confluent", "kafka-python", "kcat"]:
            for codec in CODECS:
                self.row(f"{client} writes {each} records, {codec}", lambda: self.produce(client, codec, each))
        for codec in ["none", "gzip"]:
            self.row(f"kafkajs writes {count // 2} records, {codec}", lambda: self.produce("kafkajs", codec, count // 2))
        for codec in CODECS:
            self.row(f"Apache console producer writes {each}, {codec}", lambda: self.console_producer(codec, each))
        self.row(f"Apache ProducerPerformance writes {count}, idempotent", self.producer_performance)
        self.read_everything("")
        self.row("kill -9 in the middle of writes, restart, all there", self.kill_in_the_middle)
        self.read_everything(" after the kill")
        self.row("a clean stop", self.server.stop)
        self.row("Apache DumpLogSegments accepts every file", self.dump_log_segments)

    def producer_performance(self):
        count = self.args.count
        self.create("perf")
        text = self.java(f"{TOOLS}.ProducerPerformance", "--topic", "perf", "--num-records", str(count), "--record-size", "100",
                         "--throughput", "-1", "--command-property", f"bootstrap.servers={self.server.bootstrap}").decode()
        expect(f"{count} records sent" in text, text)
        self.offsets("perf", count)

    def read_everything(self, when):
        readers = {"confluent": ["kafka-python", "console"], "kafka-python": ["confluent", "kcat"], "kcat": ["kcat", "console"],
                   "kafkajs": ["confluent", "kafkajs"], "console": ["confluent", "kafka-python"]}
        for topic, count in list(self.written.items()):
            client = topic.rsplit("-", 1)[0]
            for reader in readers[client] if not when else readers[client][:1]:
                self.row(f"{reader} reads {topic}{when}", lambda: self.consume(reader, topic, count))
        if not when:
            for topic, count in list(self.written.items())[:3]:
                self.row(f"Apache GetOffsetShell on {topic}", lambda: self.offsets(topic, count))

    def kill_in_the_middle(self):
        self.create("killed")
        acked = os.path.join(self.work, "acked")
        failure = []

        def write():
            try:
                self.python("confluent.py", "acked", self.server.bootstrap, "killed", PARTITIONS, 8, acked)
            except Failure as error:
                failure.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(3):
            time.sleep(2)
            self.server.kill()
            self.server.start()
        writer.join()
        if failure:
            raise failure[0]
        self.read_back("killed", acked)

    def read_back(self, topic, path):
        """Every acknowledged record is at its offset, and none stands twice. Gives how many they are."""
        wanted = {}
        with open(path) as lines:
            for line in lines:
                p, offset, value = line.split()
                wanted[(int(p), int(offset))] = value
        acknowledged = len(wanted)
        expect(acknowledged > 500, f"only {acknowledged} records were acknowledged")
        seen = set()
        for p in range(PARTITIONS):
            text = self.run(["kcat", "-C", "-b", self.server.bootstrap, "-t", topic, "-p", str(p), "-o", "beginning", "-e",
                             "-q", "-f", "%o %s\n"]).decode()
            for line in text.splitlines():
                offset, value = line.split()
                expect(value not in seen, f"record {value} stands twice: again at {topic}-{p}@{offset}")
                seen.add(value)
                known = wanted.pop((p, int(offset)), value)
                expect(known == value, f"{topic}-{p}@{offset}: acknowledged {known}, read {value}")
        expect(not wanted, f"{len(wanted)} of {acknowledged} acknowledged records are missing, e.g. {list(wanted.items())[:3]}")
        return acknowledged

    def dump_log_segments(self):
        files = [path for kind in ("log", "index", "timeindex", "snapshot")
                 for path in sorted(glob.glob(f"{self.server.data}/*-[0-9]*/*.{kind}")) if os.path.getsize(path)]
        expect(any(path.endswith(".index") for path in files), f"no index with entries among {len(files)} files")
        expect(any(path.endswith(".snapshot") for path in files), f"no producer snapshot among {len(files)} files")
        for at in range(0, len(files), 400):
            self.complain(self.java(f"{TOOLS}.DumpLogSegments", "--deep-iteration", "--files",
                                    ",".join(files[at:at + 400])).decode())

    def complain(self, text):
        """Whether DumpLogSegments found something wrong."""
        bad = [line for line in text.splitlines()
               if re.search(r"isvalid: false|mismatch|Found|Exception|corrupt|out of order|Could not|Error", line, re.I)]
        expect(not bad, f"{len(bad)} complaints, first: {bad[:3]}")


class Failure(Exception):
    """A row that did not pass, with what was seen."""


def expect(holds, seen):
    if not holds:
        raise Failure(str(seen)[:2000])


def main(kind, doc, option, default, meaning):
    """A script's command line, and its run. `option` is the one that it has alone, a number."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=["burnin", "kafka"], default="burnin")
    parser.add_argument("--command", default="target/release/burnin-broker", help="how our broker is started")
    parser.add_argument("--tools", default=os.environ.get("BURNIN_INTEROP_TOOLS", "target/interop"),
                        help="where ci/interop/install put the clients")
    parser.add_argument(option, type=int, default=default, help=f"{meaning} (default {default})")
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--keep", action="store_true", help="keep the data directories")
    args = parser.parse_args()
    args.tools = os.path.abspath(args.tools)
    if not os.path.isdir(f"{args.tools}/lib"):
        raise SystemExit(f"no clients in {args.tools}: run `ci/interop/install`, or name their folder with --tools")
    if args.server == "burnin" and not shutil.which(args.command.split()[0]):
        raise SystemExit(f"there is no broker program `{args.command}`: build it with "
                         "`cargo build --release -p burnin-broker`, or name one with --command")
    work = tempfile.mkdtemp(prefix="burnin-interop-")
    interop = kind(args, work)
    try:
        interop.all()
    finally:
        interop.server.kill()
        if args.keep:
            print(f"kept {work}")
        else:
            subprocess.run(["rm", "-rf", work], check=False)
    failed = [name for name, outcome in interop.rows if outcome != "ok"]
    print(f"\n{len(interop.rows) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed or not interop.rows else 0)


if __name__ == "__main__":
    main(Interop, __doc__, "--count", 100_000, "records per client")
