"""The WebSocket to the same hub: what is particular to it. What both doors tell alike stands in test_live.py."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import httpx
import pytest
from msgspec.structs import replace
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from holdfast.cli import connections
from holdfast.engine import Engine
from holdfast.live import Hub, hub
from tests.api.watching import PATIENCE_SECONDS, Event, claim, id_of, listening, serving, signed, watching
from tests.conftest import client_of, eventually

pytestmark = pytest.mark.anyio

Opens = Callable[..., Any]


@pytest.fixture
async def web(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(engine) as (client, _server):
        yield client


async def _is_empty(watched: Hub) -> bool:
    return watched.viewers == watched.shows == 0


async def _has_viewers(watched: Hub, count: int) -> bool:
    return watched.viewers == count


async def _refused(web: httpx.AsyncClient, show: Any, query: str = "", **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as found:
        async with listening(web, show, query, **options):
            pass
    answer = found.value.response
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    return answer.status_code, json.loads(answer.body)["code"]


async def test_both_doors_tell_the_same(
    web: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    await claim(client, show, 1)
    async with watching(web, show) as stream, listening(web, show) as socket:
        assert (await stream.next()).data == (first := await socket.next()).data
        assert (first.kind, first.revision, first.data["areas"]) == (
            "availability",
            1,
            [{"id": 1, "available": 9}],
        )
        await claim(client, show, 3, 4)
        told, same = await stream.next(), await socket.next()
        assert (told.kind, told.id, told.data) == (same.kind, same.id, same.data)
        assert same.data["taken"] == [2, 3]
        assert (engine.hub.viewers, engine.hub.shows) == (2, 1)
    await eventually(lambda: _is_empty(engine.hub))


async def test_who_comes_back_hears_what_was_missed_or_is_reset(
    web: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Any
) -> None:
    show = await a_show()
    await claim(client, show, 1)
    async with listening(web, show) as stays:
        await stays.next()
        for seat in (2, 3):
            await claim(client, show, seat)
            await stays.next()
        async with listening(web, show, "?since=2") as back:
            assert (await back.next()).data["taken"] == [2]
        async with listening(web, show, "?since=3", additional_headers={"Last-Event-ID": "1"}) as back:
            assert (await back.next()).data["taken"] == [1, 2]
        async with listening(web, show, "?since=0") as back:
            assert ((told := await back.next()).kind, told.revision) == ("reset", 3)


async def test_a_quiet_socket_says_that_it_lives(
    web: httpx.AsyncClient, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "KEEP_ALIVE_SECONDS", 0.05)
    async with listening(web, await a_show()) as socket:
        await socket.next()
        for _ in range(2):
            alive = await socket.next()
            assert (alive.kind, alive.id, alive.data) == ("alive", None, {"revision": 0})


@pytest.mark.parametrize("message", ["text", b"bytes", ""])
async def test_who_says_anything_is_cut_off(
    message: str | bytes, web: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    async with listening(web, await a_show()) as socket:
        await socket.next()
        await socket.connection.send(message)
        assert await socket.closed() == (1008, "This door only tells. Nothing can be said to it.")
    await eventually(lambda: _is_empty(engine.hub))


async def test_a_message_that_is_too_large_is_not_even_read(web: httpx.AsyncClient, a_show: Any) -> None:
    async with listening(web, await a_show()) as socket:
        await socket.next()
        await socket.connection.send("x" * (connections.MESSAGE_BYTES_MAX + 1))
        assert (await socket.closed())[0] == 1009


async def test_who_begins_to_say_something_is_cut_off(web: httpx.AsyncClient, a_show: Any) -> None:
    """Pieces of a message that never ends would be kept for ever, however small they are."""
    async with listening(web, await a_show()) as socket:
        await socket.next()
        piece = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
        socket.connection.transport.write(piece)
        assert (await socket.closed())[0] == 1008


async def test_pings_are_answered_and_a_flood_of_them_is_not(
    web: httpx.AsyncClient, client: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    async with listening(web, show) as socket:
        await socket.next()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await (await socket.connection.ping())
        ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
        count = connections.SAID_BYTES_PER_LOOK_MAX // len(ping) + 1
        socket.connection.transport.write(ping * count)
        assert await socket.closed() == (1008, "Too much was said.")
    await eventually(lambda: _is_empty(engine.hub))


async def test_who_answers_no_ping_is_gone(
    engine: Engine, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.cli.serving.PING_SECONDS", 0.1)
    show = await a_show()
    async with serving(engine) as (web, _server), listening(web, show) as socket:
        await socket.next()
        socket.connection.transport.pause_reading()
        await eventually(lambda: _is_empty(engine.hub))


async def test_a_server_that_stops_says_so(engine: Engine, a_show: Any) -> None:
    show = await a_show()
    async with serving(engine) as (web, server), listening(web, show) as socket:
        await socket.next()
        server.should_exit = True
        assert await socket.closed() == (1001, "This process is stopping. Connect again.")
    assert await _is_empty(engine.hub)


async def test_a_show_that_is_hidden_again_is_closed_and_then_not_found(
    web: httpx.AsyncClient, owner: httpx.AsyncClient, open_another: Opens, a_show: Any
) -> None:
    show = await a_show(status="scheduled")
    async with (
        open_another() as other,
        client_of(other, **signed(owner)) as elsewhere,
        listening(web, show) as socket,
    ):
        await socket.next()
        url = f"/v1/shows/{show['id']}"
        assert (await elsewhere.patch(url, json={"status": "draft"})).status_code == 200
        block = {"seats": ["10"], "reason": "press"}
        assert (await elsewhere.post(f"{url}/blocks", json=block)).status_code == 201
        assert await socket.closed() == (4404, "show_not_found")
    assert await _refused(web, show) == (404, "show_not_found")
    async with listening(web, show, additional_headers=signed(owner)) as own:
        assert (await own.next()).kind == "availability"


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("?since=x", {}, 400, "invalid"),
        ("?sins=1", {}, 400, "unknown_field"),
        ("", {"Last-Event-ID": "x"}, 400, "invalid"),
    ],
)
async def test_what_is_refused_is_answered_before_the_upgrade(
    query: str,
    headers: dict[str, str],
    status: int,
    code: str,
    web: httpx.AsyncClient,
    engine: Engine,
    a_show: Any,
) -> None:
    show = await a_show()
    assert await _refused(web, show, query, additional_headers=headers) == (status, code)
    assert await _is_empty(engine.hub)


async def test_a_refusal_is_no_error_of_ours(
    web: httpx.AsyncClient, a_show: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Else any stranger could fill the log with errors."""
    assert await _refused(web, await a_show(), "?since=x") == (400, "invalid")
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "body", ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
async def test_a_handshake_with_a_body_is_refused_and_not_left_open(
    body: str, engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    async with serving(engine) as (web, server):
        host, port = web.base_url.host, web.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        head = f"GET /v1/shows/{show['id']}/live HTTP/1.1\r\nHost: {host}:{port}\r\n"
        head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        writer.write(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{body}".encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = await reader.read(-1)
        assert said.startswith(b"HTTP/1.1 400 ")
        assert b'"malformed"' in said
        writer.close()

        async def all_gone() -> bool:
            return not server.server_state.connections and not server._connections._of

        await eventually(all_gone)


async def test_no_other_address_is_upgraded(web: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    assert await _refused(web, {"id": f"{show['id']}/availability?x="}) == (400, "no_websocket")
    assert await _refused(web, {"id": f"{UUID(int=7)}/nothing"}) == (404, "not_found")
    assert await _refused(web, {"id": str(UUID(int=7))}) == (404, "show_not_found")


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1"])
async def test_pages_of_other_sites_may_not_listen(origin: str, web: httpx.AsyncClient, a_show: Any) -> None:
    assert await _refused(web, await a_show(), origin=origin) == (403, "wrong_origin")


async def test_own_pages_and_those_that_the_operator_names_may_listen(
    open_another: Opens, a_show: Any
) -> None:
    show = await a_show()
    async with (
        open_another(cors_origins="https://box.example", public_url="https://tickets.example.org") as other,
        serving(other) as (web, _server),
    ):
        own = str(web.base_url)
        for origin in (own, "https://box.example", "https://tickets.example.org"):
            async with listening(web, show, origin=origin) as socket:
                assert (await socket.next()).kind == "availability"
        assert await _refused(web, show, origin="https://box.example.evil") == (403, "wrong_origin")


async def test_a_name_that_is_not_ours_is_refused(web: httpx.AsyncClient, a_show: Any) -> None:
    assert await _refused(web, await a_show(), additional_headers={"Host": "evil.example"}) == (
        421,
        "wrong_host",
    )


async def test_there_are_so_many_viewers_by_both_doors_and_no_more(open_another: Opens, a_show: Any) -> None:
    show = await a_show()
    async with open_another(live_viewers_max=2) as small, serving(small) as (web, _server):
        async with AsyncExitStack() as stack:
            await (await stack.enter_async_context(watching(web, show))).next()
            await (await stack.enter_async_context(listening(web, show))).next()
            assert await _refused(web, show) == (503, "busy")
        await eventually(lambda: _is_empty(small.hub))
        async with listening(web, show) as socket:
            assert (await socket.next()).kind == "availability"


async def test_one_address_behind_a_proxy_takes_not_all_places_of_viewers(
    open_another: Opens, a_show: Any
) -> None:
    """The proxy's connections are not counted, so viewers are, each as whom the proxy says that it is."""
    show = await a_show()
    async with (
        open_another(trusted_proxies="127.0.0.1", connections_per_address_max=2) as small,
        serving(small) as (web, _server),
    ):
        mine, other = {"X-Forwarded-For": "2001:db8::1"}, {"X-Forwarded-For": "2001:db8:0:1::1"}
        near = {"X-Forwarded-For": "2001:db8::2"}
        async with listening(web, show, additional_headers=mine) as first:
            async with listening(web, show, additional_headers=near):
                assert await _refused(web, show, additional_headers=mine) == (503, "busy")
                async with listening(web, show, additional_headers=other) as socket:
                    assert (await socket.next()).kind == "availability"
            await eventually(lambda: _has_viewers(small.hub, 1))
            async with listening(web, show, additional_headers=mine) as again:
                assert (await again.next()).kind == (await first.next()).kind
        await eventually(lambda: _is_empty(small.hub))
        assert small.hub._of == {}


async def test_upgrades_are_counted_as_reads(open_another: Opens, a_show: Any) -> None:
    show = await a_show()
    async with (
        open_another(rate_limits="on", limit_reads="2/900s") as strict,
        serving(strict) as (web, _server),
    ):
        for _ in range(2):
            async with listening(web, show) as socket:
                await socket.next()
        assert await _refused(web, show) == (429, "rate_limited")


async def test_a_socket_is_a_connection_like_any_other(engine: Engine, a_show: Any) -> None:
    show = await a_show()
    settings = replace(engine.settings, connections_max=10)
    async with serving(engine, settings) as (web, server):
        async with AsyncExitStack() as stack:
            for _ in range(10):
                await (await stack.enter_async_context(listening(web, show))).next()
            assert len(server.server_state.connections) == 10
            reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await reader.read(-1)).startswith(b"HTTP/1.1 503 ")
            writer.close()

        async def all_gone() -> bool:
            return not server.server_state.connections and not server._connections._of

        await eventually(all_gone)


async def test_who_does_not_read_is_told_to_read_again_and_then_cut_off(
    engine: Engine, client: httpx.AsyncClient, a_show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buffers of the connection take some; behind them the hub keeps few events, and then only that all is lost."""
    monkeypatch.setattr(hub, "TICK_SECONDS", 0.0)
    show = await a_show(total_seats=100)
    async with serving(engine) as (web, _server), listening(web, show, max_queue=1) as socket:
        await socket.next()
        (viewer,) = engine.hub._feeds[id_of(show)].viewers
        viewer.push = lambda _: False  # as if the line were full
        waits = viewer._waits
        assert waits
        event = hub._alive(0)
        for _ in range(hub.BACKLOG_EVENTS_MAX + 1):
            viewer.tell(event, None)
        told = await socket.next()
        assert told.kind == "reset"


async def test_a_head_that_is_too_long_is_refused(web: httpx.AsyncClient, a_show: Any) -> None:
    show = await a_show()
    assert await _refused(web, show, additional_headers={"X-Long": "x" * 9000}) == (431, "head_too_large")
    assert await _refused(web, show, additional_headers={"X-Long": "x" * 40_000}) == (431, "head_too_large")


async def test_an_upgrade_behind_a_request_that_is_not_answered_yet_is_refused(
    engine: Engine, a_show: Any
) -> None:
    show = await a_show()
    async with serving(engine) as (web, _server):
        reader, writer = await asyncio.open_connection(web.base_url.host, web.base_url.port)
        path = f"/v1/shows/{show['id']}/live"
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        host = "Host: 127.0.0.1\r\n"
        writer.write(
            f"GET {path} HTTP/1.1\r\n{host}\r\nGET {path} HTTP/1.1\r\n{host}{upgrade}{key}\r\n".encode()
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            said = await reader.read(-1)
        assert b"101 Switching" not in said
        writer.close()
    assert await _is_empty(engine.hub)


async def test_the_line_is_closed_from_the_other_side_too(
    web: httpx.AsyncClient, engine: Engine, a_show: Any
) -> None:
    async with listening(web, await a_show()) as socket:
        await socket.next()
        await socket.connection.close(1000, "seen enough")
        with pytest.raises(ConnectionClosed):
            await socket.next()
    await eventually(lambda: _is_empty(engine.hub))


def test_a_message_reads_as_an_event() -> None:
    event = hub._encoded(b"reset", 7, {"revision": 7})
    assert Event.of_message(event.message.decode()).data == Event(event.sse.decode().strip()).data
