#!/usr/bin/env python3
"""Three real processes behind real Kafka clients and Apache Kafka's cluster tools.

First Apache's tools, each asked through another broker. Then each client writes while the leader of its partition 0 is
killed (-9) every few seconds and started again; every record that was acknowledged is read back by assignment, at its
offset, from all partitions, and an idempotent producer's record may stand once only. At last Apache's DumpLogSegments
must accept every log, index and snapshot of all nodes, the metadata log among them.

usage: cluster.py [--server burnin|kafka] [--seconds N] [--only TEXT] [--keep]
`--server kafka` runs the same rows against three nodes of Apache Kafka: that proves the script.
"""
import glob
import json
import os
import re
import signal
import subprocess
import threading
import time

from interop import TOOLS, Failure, Interop, expect, main
from servers import Cluster, ReconfigurableCluster

PARTITIONS = 3
MORE = "default.replication.factor=3\nmin.insync.replicas=2\ncontrolled.shutdown.enable=true\n"


class ClusterInterop(Interop):
    def servers(self):
        return Cluster(self.args.server, self.work, self.args.command.split(), f"{self.tools}/lib", more=MORE)

    def any_broker(self, number):
        """A tool must be served by every broker, so each row asks another one."""
        return "--bootstrap-server", self.server.node(number % len(self.server.nodes) + 1).bootstrap

    def create(self, topic, partitions=PARTITIONS, factor=3, *more):
        self.java(f"{TOOLS}.TopicCommand", *self.any_broker(len(self.rows)), "--create", "--topic", topic,
                  "--partitions", str(partitions), "--replication-factor", str(factor), *more)

    def metadata(self, topic):
        """Partition -> (leader, replicas, isr), as kcat sees it."""
        for _ in range(60):
            try:
                text = self.run(["kcat", "-L", "-J", "-m", "5", "-b", self.server.bootstrap, "-t", topic])
                partitions = json.loads(text)["topics"][0]["partitions"]
                return {p["partition"]: (p["leader"], [r["id"] for r in p["replicas"]], [r["id"] for r in p["isrs"]])
                        for p in partitions}
            except (Failure, ValueError, KeyError, IndexError):
                time.sleep(0.5)
        raise Failure(f"no metadata of {topic} within 30 s")

    def wait(self, what, holds, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if holds():
                return
            time.sleep(0.3)
        raise Failure(f"{what}: not within {seconds} s")

    def wait_full_isr(self, topic):
        self.wait(f"full ISR of {topic}", lambda: all(
            leader > 0 and sorted(isr) == sorted(replicas) for leader, replicas, isr in self.metadata(topic).values()))

    # -- Apache's tools ---------------------------------------------------------------------------------
    def topics_of_three(self):
        self.create("orders", 6)
        self.wait_full_isr("orders")
        text = self.java(f"{TOOLS}.TopicCommand", *self.any_broker(1), "--describe", "--topic", "orders").decode()
        expect("PartitionCount: 6" in text and "ReplicationFactor: 3" in text, text)
        leaders = {leader for leader, _, _ in self.metadata("orders").values()}
        expect(leaders == {1, 2, 3}, f"leaders are not spread: {leaders}")
        self.java(f"{TOOLS}.TopicCommand", *self.any_broker(2), "--alter", "--topic", "orders", "--partitions", "9")
        text = self.java(f"{TOOLS}.TopicCommand", *self.any_broker(0), "--describe", "--topic", "orders").decode()
        expect("PartitionCount: 9" in text, text)
        self.create("gone", 3)
        self.java(f"{TOOLS}.TopicCommand", *self.any_broker(1), "--delete", "--topic", "gone")
        listed = self.java(f"{TOOLS}.TopicCommand", *self.any_broker(2), "--list").decode().split()
        expect("orders" in listed and "gone" not in listed, listed)

    def impossible_factor(self):
        try:
            self.create("impossible", 1, 4)
        except Failure as refused:
            expect("InvalidReplicationFactor" in str(refused), refused)
        else:
            raise Failure("a replication factor of 4 was accepted by 3 brokers")

    def configs(self):
        at = self.any_broker(1)
        topic = "--entity-type", "topics", "--entity-name", "orders"
        self.java("kafka.admin.ConfigCommand", *at, "--alter", *topic, "--add-config", "retention.ms=7200000")
        text = self.java("kafka.admin.ConfigCommand", *self.any_broker(2), "--describe", *topic).decode()
        expect("retention.ms=7200000" in text, text)
        self.java("kafka.admin.ConfigCommand", *at, "--alter", "--entity-type", "brokers", "--entity-default",
                  "--add-config", "log.retention.ms=9000000")
        text = self.java("kafka.admin.ConfigCommand", *self.any_broker(0), "--describe", "--entity-type", "brokers",
                         "--entity-default").decode()
        expect("log.retention.ms=9000000" in text, text)
        self.java("kafka.admin.ConfigCommand", *at, "--alter", *topic, "--delete-config", "retention.ms")
        text = self.java("kafka.admin.ConfigCommand", *self.any_broker(2), "--describe", *topic).decode()
        expect("retention.ms=7200000" not in text, text)

    def quorum(self):
        text = self.java(f"{TOOLS}.MetadataQuorumCommand", *self.any_broker(1), "describe", "--status").decode()
        leader = re.search(r"LeaderId:\s+(\d+)", text)
        expect(leader and int(leader[1]) in (1, 2, 3) and re.search(r"CurrentVoters:.*1.*2.*3", text), text)
        text = self.java(f"{TOOLS}.MetadataQuorumCommand", *self.any_broker(2), "describe", "--replication").decode()
        expect(text.count("Follower") == 2 and text.count("Leader") >= 1, text)

    def voters_change(self):
        """A cluster of its own, whose voters stand in the log: one is added, the leader is removed, all are described."""
        tool = f"{TOOLS}.MetadataQuorumCommand"
        cluster = ReconfigurableCluster(self.args.server, os.path.join(self.work, "voters"), self.args.command.split(),
                                        f"{self.tools}/lib", more=MORE)

        def describe(*at):
            text = self.java(tool, *at, "describe", "--status").decode()
            voters = re.search(r"CurrentVoters:\s+\[(.*)\]", text)
            expect(voters, text)
            ids = {int(n): d for n, d in re.findall(r'"id": (\d+), "directoryId": "([^"]+)"', voters[1])}
            return int(re.search(r"LeaderId:\s+(\d+)", text)[1]), ids, text

        try:
            cluster.start()
            brokers, controllers = ("--bootstrap-server", cluster.bootstrap), ("--bootstrap-controller", cluster.controllers)
            leader, voters, text = describe(*brokers)
            expect(set(voters) == {1, 2, 3} and text.count("CONTROLLER://127.0.0.1") >= 3, text)
            cluster.spare.start()
            self.wait("the fourth controller as an observer", lambda: re.search(
                r"\n4\s.*Observer", self.java(tool, *brokers, "describe", "--replication").decode()))
            added = self.java(tool, *controllers, "--command-config", cluster.spare.properties, "add-controller").decode()
            expect("Added controller 4" in added, added)
            _, four, text = describe(*controllers)
            expect(set(four) == {1, 2, 3, 4}, text)
            # Whoever leads makes way, asked through a broker this time.
            removed = self.java(tool, *brokers, "remove-controller", "--controller-id", str(leader),
                                "--controller-directory-id", four[leader]).decode()
            expect("Removed" in removed, removed)
            self.wait("another leader", lambda: describe(*brokers)[0] != leader)
            now, three, text = describe(*brokers)
            expect(set(three) == {1, 2, 3, 4} - {leader}, text)
            try:
                self.java(tool, *brokers, "remove-controller", "--controller-id", str(leader),
                          "--controller-directory-id", four[leader])
            except Failure as refused:
                expect("VoterNotFound" in str(refused) or "VOTER_NOT_FOUND" in str(refused), refused)
            else:
                raise Failure("a controller was removed twice")
            # Who was removed fetches on, as soon as it has found the new leader.
            self.wait("the removed controller as an observer", lambda: re.search(
                rf"\n{leader}\s.*Observer", self.java(tool, *controllers, "describe", "--replication").decode()))
            replication = self.java(tool, *controllers, "describe", "--replication").decode()
            expect(replication.count("Follower") == 2 and len(re.findall(r"\sLeader", replication)) == 1, replication)
        finally:
            cluster.kill()
        for node in [*cluster.nodes, cluster.spare]:
            log = glob.glob(f"{node.data}/__cluster_metadata-0/*.log")
            text = self.java(f"{TOOLS}.DumpLogSegments", "--cluster-metadata-decoder", "--files", ",".join(log)).decode()
            expect("KRaftVoters" in text or "KRAFT_VOTERS" in text or "voterId" in text, text[-2000:])
            self.complain(text)

    def log_dirs(self):
        text = self.java(f"{TOOLS}.LogDirsCommand", *self.any_broker(1), "--describe", "--topic-list", "orders").decode()
        described = json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
        expect({b["broker"] for b in described["brokers"]} == {1, 2, 3}, text)
        sizes = sum(len(d["partitions"]) for b in described["brokers"] for d in b["logDirs"])
        expect(sizes == 27, f"{sizes} replicas of 9 partitions: {text}")

    def api_versions(self):
        text = self.java(f"{TOOLS}.BrokerApiVersionsCommand", *self.any_broker(1)).decode()
        expect(text.count("Produce(0)") == 3 and "Fetch(1)" in text, text[:1500])

    def features(self):
        text = self.java(f"{TOOLS}.FeatureCommand", *self.any_broker(2), "describe").decode()
        expect("metadata.version" in text and "FinalizedVersionLevel" in text, text)

    def reassign(self):
        self.create("moved", 1, 2)
        self.wait_full_isr("moved")
        self.produce_some("moved", 2000, 1)
        _, replicas, _ = self.metadata("moved")[0]
        new = ({1, 2, 3} - set(replicas)).pop()
        plan = {"version": 1, "partitions": [{"topic": "moved", "partition": 0, "replicas": [new, replicas[1]]}]}
        path = os.path.join(self.work, "plan.json")
        with open(path, "w") as out:
            json.dump(plan, out)
        tool = f"{TOOLS}.reassign.ReassignPartitionsCommand"
        self.java(tool, *self.any_broker(1), "--execute", "--reassignment-json-file", path, "--throttle", "50000000")

        def done():
            text = self.java(tool, *self.any_broker(2), "--verify", "--reassignment-json-file", path).decode()
            return "is completed" in text

        self.wait("the reassignment", done)
        self.wait("the new replica", lambda: sorted(self.metadata("moved")[0][1]) == sorted([new, replicas[1]]))
        self.wait_full_isr("moved")
        self.offsets("moved", 2000)
        plan["partitions"][0]["replicas"] = [1, 99]
        with open(path, "w") as out:
            json.dump(plan, out)
        try:
            text = self.java(tool, *self.any_broker(1), "--execute", "--reassignment-json-file", path).decode()
        except Failure as refused:
            text = str(refused)
        expect("99" in text and re.search(r"unknown|Unknown|not found|InvalidReplicaAssignment", text), text)

    def preferred_election(self):
        def preferred():
            return all(leader == replicas[0] for leader, replicas, _ in self.metadata("orders").values())

        victim = self.metadata("orders")[0][0]
        self.server.node(victim).stop()
        self.wait("another leader", lambda: all(
            leader > 0 and leader != victim for leader, _, _ in self.metadata("orders").values()))
        self.server.node(victim).start()
        self.wait_full_isr("orders")
        expect(not preferred(), "leaders went back by themselves")
        self.java(f"{TOOLS}.LeaderElectionCommand", *self.any_broker(victim), "--election-type", "preferred",
                  "--all-topic-partitions")
        self.wait("preferred leaders", preferred, 20)

    def produce_some(self, topic, count, partitions):
        self.python("confluent.py", "produce", self.server.bootstrap, topic, partitions, count, "none")

    def offsets(self, topic, count):
        text = self.java(f"{TOOLS}.GetOffsetShell", *self.any_broker(1), "--topic", topic).decode()
        ends = [int(line.rsplit(":", 1)[1]) for line in text.split() if line.startswith(topic + ":")]
        expect(sum(ends) == count, f"{topic}: {ends} do not add up to {count}")

    # -- clients while leaders die ----------------------------------------------------------------------
    def write_acked(self, client, topic, path):
        b, seconds = self.server.bootstrap, self.args.seconds
        if client == "confluent":
            self.python("confluent.py", "acked", b, topic, PARTITIONS, seconds, path, seconds=seconds)
        elif client == "kafka-python":
            self.python("kafka_python.py", "acked", b, topic, PARTITIONS, seconds, path, seconds=seconds)
        elif client == "kafkajs":
            self.node("acked", b, topic, PARTITIONS, seconds, path, seconds=seconds)
        else:
            self.verifiable_producer(topic, path)

    def verifiable_producer(self, topic, path):
        config = os.path.join(self.work, "verifiable.properties")
        with open(config, "w") as out:
            out.write("enable.idempotence=true\nretries=2147483647\ndelivery.timeout.ms=120000\n")
        command = ["java", "-Xmx256m", "-cp", f"{self.tools}/lib/*", f"{TOOLS}.VerifiableProducer", "--bootstrap-server",
                   self.server.bootstrap, "--topic", topic, "--throughput", "2000", "--acks", "-1",
                   "--command-config", config]
        with open(path, "w") as out, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as java:
            stop = threading.Timer(self.args.seconds, java.send_signal, [signal.SIGTERM])
            stop.start()
            failed = None
            for line in java.stdout:
                said = json.loads(line) if line.startswith(b"{") else {}
                if said.get("name") == "producer_send_success":
                    out.write(f"{said['partition']} {said['offset']} {said['value']}\n")
                elif said.get("name") == "producer_send_error":
                    failed = failed or said
            stop.cancel()
        expect(not failed, f"a send failed: {failed}")

    def leaders_die(self, client):
        topic = f"dying-{client}"
        self.create(topic)
        self.wait_full_isr(topic)
        acked = os.path.join(self.work, topic)
        failure = []

        def write():
            try:
                self.write_acked(client, topic, acked)
            except (Failure, subprocess.TimeoutExpired) as error:
                failure.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        # A client that backs off for longer than a leader lives would never be done: it finishes in peace.
        end = time.monotonic() + self.args.seconds
        kills = 0
        time.sleep(3)
        while writer.is_alive() and time.monotonic() < end:
            victim = self.metadata(topic)[0][0]
            if victim > 0 and writer.is_alive():
                self.server.node(victim).kill()
                kills += 1
                self.wait("another leader", lambda: self.metadata(topic)[0][0] not in (-1, victim))
                self.server.node(victim).start()
                self.wait_full_isr(topic)
            writer.join(2)
        writer.join()
        if failure:
            raise failure[0]
        expect(kills >= 2, f"only {kills} leaders were killed")
        self.wait_full_isr(topic)
        acknowledged = self.read_back(topic, acked)
        print(f"  {acknowledged} acknowledged records over {kills} kills", flush=True)

    def rolling_restart(self):
        for node in self.server.nodes:
            node.stop()
            self.wait("leaders elsewhere", lambda: all(
                leader not in (-1, node.node) for leader, _, _ in self.metadata("orders").values()))
            node.start()
            self.wait_full_isr("orders")

    # -- what was written -------------------------------------------------------------------------------
    def dump(self):
        for node in self.server.nodes:
            self.dump_directory(node.data)

    def dump_directory(self, data):
        files = [path for kind in ("log", "index", "timeindex", "snapshot")
                 for path in sorted(glob.glob(f"{data}/*-[0-9]*/*.{kind}"))
                 if os.path.getsize(path) and not path.split("/")[-2].endswith("-delete")]
        metadata = [path for path in files if "__cluster_metadata" in path and path.endswith(".log")]
        metadata += glob.glob(f"{data}/__cluster_metadata-0/*.checkpoint")
        expect(metadata, f"no metadata log in {data}")
        text = self.java(f"{TOOLS}.DumpLogSegments", "--cluster-metadata-decoder", "--files", ",".join(metadata)).decode()
        expect("REGISTER_BROKER_RECORD" in text, text[:2000])
        self.complain(text)
        others = [path for path in files if "__cluster_metadata" not in path]
        for at in range(0, len(others), 400):
            self.complain(self.java(f"{TOOLS}.DumpLogSegments", "--deep-iteration", "--files",
                                    ",".join(others[at:at + 400])).decode())

    # -- the rows ---------------------------------------------------------------------------------------
    def all(self):
        self.server.start()
        self.row("kafka-topics: create RF 3, alter, describe, delete", self.topics_of_three)
        self.row("kafka-topics: an impossible replication factor", self.impossible_factor)
        self.row("kafka-configs: topics and brokers, through each broker", self.configs)
        self.row("kafka-metadata-quorum describe", self.quorum)
        self.row("kafka-metadata-quorum add-controller, remove-controller: a fourth, the leader", self.voters_change)
        self.row("kafka-log-dirs", self.log_dirs)
        self.row("kafka-broker-api-versions", self.api_versions)
        self.row("kafka-features describe", self.features)
        self.row("kafka-reassign-partitions: execute, verify, unknown broker", self.reassign)
        self.row("kafka-leader-election after a controlled shutdown", self.preferred_election)
        for client in ["confluent", "kafka-python", "kafkajs", "VerifiableProducer"]:
            self.row(f"{client}: {self.args.seconds} s of kill -9 of leaders", lambda: self.leaders_die(client))
        self.row("a rolling clean restart", self.rolling_restart)
        # Kafka's last nodes wait for minutes for a controller that is gone.
        if self.args.server == "kafka":
            self.server.kill()
        else:
            self.row("a clean stop of all", self.server.stop)
        self.row("DumpLogSegments accepts every file of all nodes", self.dump)


if __name__ == "__main__":
    main(ClusterInterop, __doc__, "--seconds", 60, "how long each client writes")
