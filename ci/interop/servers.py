"""Starting, killing and stopping a broker: ours, or Apache Kafka (which proves the script itself)."""
import os
import shutil
import signal
import socket
import subprocess
import time

PROPERTIES = """
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}
offsets.topic.replication.factor=1
log.segment.bytes=1048576
auto.create.topics.enable=false
"""


class Server:
    """One broker process with a data directory on disk."""

    def __init__(self, kind, work, command, jars):
        self.kind, self.work, self.jars = kind, work, jars
        self.port, self.controller_port = free_port(), free_port()
        self.data = os.path.join(work, "data")
        self.properties = os.path.join(work, "server.properties")
        self.log = os.path.join(work, "broker.log")
        shutil.rmtree(self.data, ignore_errors=True)
        os.makedirs(work, exist_ok=True)
        with open(self.properties, "w") as out:
            out.write(PROPERTIES.format(port=self.port, controller_port=self.controller_port, data=self.data))
        if kind == "kafka":
            java = ["java", "-Xmx512m", "-cp", f"{jars}/*"]
            cluster = subprocess.check_output([*java, "kafka.tools.StorageTool", "random-uuid"], text=True,
                                              stderr=subprocess.DEVNULL).split()[-1]
            subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.properties],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.command = [*java, "-XX:+UseSerialGC", "kafka.Kafka", self.properties]
        else:
            self.command = [*command, "--config", self.properties]
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts it and waits until it accepts connections."""
        self.process = subprocess.Popen(self.command, stdout=open(self.log, "ab"), stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"the broker ended with {self.process.returncode}; its log ends:\n{self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"the broker did not listen within 60 s; its log ends:\n{self.tail()}")

    def kill(self):
        """kill -9."""
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
