"""A RabbitMQ of a test's own: Debian's program with ports, node, folders and epmd that nobody else has."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.ports import free_port

# What Debian calls `rabbitmq-server` in the path insists on its own user; this is the script behind it.
SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
PATIENCE_SECONDS = 60
CONFIGURATION = """listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 1MB
log.console.level = warning
"""


class Rabbit:
    """Runs until `close`. It can be stopped or killed, and started again with what it has on disk."""

    def __init__(self, epmd: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-rabbit-"))
        self.port, epmd_port, node_port = (free_port() for _ in range(3))
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        (self._folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        (self._folder / "plugins").write_text("[].\n")
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"holdfast{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(node_port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            # One scheduler that sleeps when there is nothing to do: the machine has others to serve.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        # Ours from the start, for one that the node starts would stay behind.
        self._epmd = subprocess.Popen([epmd, "-port", str(epmd_port)], env=self._environ)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Returns when it takes connections."""
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [SCRIPT],
                env=self._environ,
                cwd=self._folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._wait_until(True)

    def ensure(self) -> None:
        """Starts it if a test that failed has left it dead."""
        if self._process is None:
            self.start()

    def stop(self) -> None:
        """Stops it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stops it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, how)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None
        self._wait_until(False)

    def _wait_until(self, listening: bool) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while _listens(self.port) is not listening:
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > until:
                raise AssertionError((self._folder / "output").read_text()[-3000:])
            time.sleep(0.05)

    def close(self) -> None:
        """Ends it and leaves nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._epmd.kill()
        self._epmd.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
