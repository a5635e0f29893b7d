"""Ports for servers that a test starts."""

import secrets
import socket
from contextlib import suppress

# Systems take the ports of outgoing connections from above these.
SERVERS = range(20_000, 32_000)


def free_port() -> int:
    """A port that nobody has now, and that no connection is given before the server that is about to start listens."""
    while True:
        port = secrets.choice(SERVERS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
