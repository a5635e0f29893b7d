"""Clients that die in the middle of a request: nothing breaks, nothing leaks, nothing is half done."""

import asyncio
import json
import socket
import struct
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.cli.running import Running
from tests.crashes.buying import Buyers, Told, check
from tests.crashes.conftest import POOL_MAX
from tests.platform.eventually import until as eventually

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMES = 25
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close resets the connection


def request(path: str, key: str, body: bytes, *headers: str) -> bytes:
    """A POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Idempotency-Key: {key}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


async def send_and_die(port: int, data: bytes, *, reset: bool, read: int = 0) -> None:
    """Connects, sends, reads so many bytes at most, and is gone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    if read:
        await reader.read(read)
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    writer.close()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_clients_that_die(api: Running, show: dict[str, Any], database_url: str, reset: bool) -> None:
    path = f"/v1/shows/{show['id']}/bookings"
    wish = {"quantity": 1, "area": "Floor"}
    body = json.dumps(wish).encode()
    whole_keys = [str(uuid4()) for _ in range(TIMES)]
    dying = []
    for key in whole_keys:
        length = f"Content-Length: {len(body)}"
        other = str(uuid4())
        dying += [
            send_and_die(api.port, request(path, key, body, length), reset=reset),
            send_and_die(api.port, request(path, other, body[:-5], length), reset=reset),
            send_and_die(api.port, request(path, other, b"", length), reset=reset),
            send_and_die(api.port, request(path, other, body, length)[:40], reset=reset),
            send_and_die(
                api.port, request(path, other, b'5\r\n{"qua', "Transfer-Encoding: chunked"), reset=reset
            ),
            send_and_die(
                api.port,
                f"GET /v1/shows/{show['id']}/seats HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
                reset=reset,
                read=100,
            ),
        ]
    await asyncio.gather(*dying)

    # Who sent a whole request and died may ask again with the same key, and is the only one with a booking.
    buyers = Buyers(api.port, show, rounds=0)
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post(path, content=body, headers={"Idempotency-Key": key}) for key in whole_keys)
        )
    assert {answer.status_code for answer in answers} == {201}
    for key, answer in zip(whole_keys, answers, strict=True):
        booking = answer.json()
        buyers.ledger.bookings[booking["id"]] = Told(
            key, wish, booking["id"], booking["secret"], "PENDING", ["Floor"]
        )
    assert len(buyers.ledger.bookings) == TIMES
    await check(database_url, buyers)

    await eventually(lambda: "holdfast_db_pool_used 0.0" in api.get("/metrics").text)
    assert await connections_of(database_url) <= POOL_MAX * 2 + 6, "two pools and what listens"
    assert api.answers("/v1/shows")


async def connections_of(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'holdfast'"
        )
    finally:
        await connection.close()
    return count
