"""Starting, killing and stopping brokers, one or several: ours, or Apache Kafka (which proves the scripts)."""
import base64
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid

PROPERTIES = """
node.id={node}
{listeners}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
{quorum}
log.dirs={data}
offsets.topic.replication.factor=1
log.segment.bytes=1048576
auto.create.topics.enable=false
{more}"""


COMBINED = """process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}"""
CONTROLLER = """process.roles=controller
listeners=CONTROLLER://127.0.0.1:{controller_port}"""


class Server:
    """One broker process with a data directory on disk."""

    def __init__(self, kind, work, command, jars, node=1, ports=None, voters=None, cluster=None, more="",
                 bootstrap=None, formatting=(), listeners=COMBINED):
        """`voters` are configured; with `bootstrap` they stand in the log, as `formatting` says."""
        self.kind, self.work, self.jars, self.node = kind, work, jars, node
        self.port, self.controller_port = ports or (free_port(), free_port())
        self.data = os.path.join(work, "data")
        self.properties = os.path.join(work, "server.properties")
        self.log = os.path.join(work, "broker.log")
        quorum = f"controller.quorum.voters={voters or f'1@127.0.0.1:{self.controller_port}'}"
        if bootstrap:
            quorum = f"controller.quorum.bootstrap.servers={bootstrap}"
        listeners = listeners.format(port=self.port, controller_port=self.controller_port)
        shutil.rmtree(self.data, ignore_errors=True)
        os.makedirs(work, exist_ok=True)
        with open(self.properties, "w") as out:
            out.write(PROPERTIES.format(node=node, listeners=listeners, quorum=quorum, data=self.data, more=more))
        if kind == "kafka":
            java = ["java", "-Xmx512m", "-cp", f"{jars}/*"]
            format_it = [*java, "kafka.tools.StorageTool", "format", "-t", cluster or random_cluster_id(), "-c", self.properties,
                         *formatting]
            self.command = [*java, "-XX:+UseSerialGC", "kafka.Kafka", self.properties]
        else:
            format_it = cluster and [*command, "format", "--config", self.properties, "--cluster-id", cluster, *formatting]
            self.command = [*command, "--config", self.properties]
        if format_it:
            subprocess.run(format_it, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = None
        self.listens = self.controller_port if listeners.startswith("process.roles=controller") else self.port

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts it and waits until it accepts connections."""
        self.launch()
        self.wait_listening()

    def launch(self):
        """Starts it."""
        self.process = subprocess.Popen(self.command, stdout=open(self.log, "ab"), stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL)

    def wait_listening(self):
        """Waits until it accepts connections."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the broker ended with {self.process.returncode}; its log ends:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", self.listens), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"the broker did not listen within 60 s; its log ends:\n{self.tail()}")

    def kill(self):
        """kill -9, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """SIGTERM; a broker that needs more than 60 s, or ends with an error, is a failure."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(60)
            if code not in (0, 143, -15):
                raise SystemExit(f"the broker ended with {code} after SIGTERM; its log ends:\n{self.tail()}")

    def tail(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-20:])


class Cluster:
    """Several combined nodes on loopback, which are the voters of one quorum."""

    def __init__(self, kind, work, command, jars, size=3, more=""):
        ports = [(free_port(), free_port()) for _ in range(size)]
        voters = ",".join(f"{at + 1}@127.0.0.1:{controller}" for at, (_, controller) in enumerate(ports))
        cluster = random_cluster_id()
        self.nodes = [Server(kind, os.path.join(work, f"node-{at + 1}"), command, jars, at + 1, ports[at], voters, cluster, more)
                      for at in range(size)]

    @property
    def bootstrap(self):
        return ",".join(node.bootstrap for node in self.nodes)

    def node(self, number):
        return self.nodes[number - 1]

    def start(self):
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_listening()

    def stop(self):
        """SIGTERM, one after the other."""
        for node in self.nodes:
            node.stop()

    def kill(self):
        """kill -9 of whatever is left."""
        for node in self.nodes:
            node.kill()


class ReconfigurableCluster(Cluster):
    """Several combined nodes whose voters stand in the log, and one more controller that is no voter yet."""

    def __init__(self, kind, work, command, jars, size=3, more=""):
        ports = [(free_port(), free_port()) for _ in range(size + 1)]
        at = [f"127.0.0.1:{controller}" for _, controller in ports]
        voters = ",".join(f"{number + 1}@{at[number]}:{random_cluster_id()}" for number in range(size))
        cluster = random_cluster_id()

        def node(number, *formatting, **how):
            return Server(kind, os.path.join(work, f"node-{number + 1}"), command, jars, number + 1, ports[number], None,
                          cluster, more, bootstrap=",".join(at[:size]), formatting=formatting, **how)

        self.nodes = [node(number, "--initial-controllers", voters) for number in range(size)]
        self.spare = node(size, "--no-initial-controllers", listeners=CONTROLLER)

    @property
    def controllers(self):
        return ",".join(f"127.0.0.1:{node.controller_port}" for node in self.nodes)

    def kill(self):
        super().kill()
        if self.spare.process and self.spare.process.poll() is None:
            self.spare.kill()


def random_cluster_id():
    """22 characters of base64url, as Kafka's storage tool draws them."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
