"""Each POST once: the answers given under an Idempotency-Key, kept for whoever asks again.

The key is taken, the operation done and the answer kept in one transaction, so that either all three are there or none.
An equal request that comes meanwhile waits for the answer. A refusal is an exception: everything is rolled back, the
key included, and the next try is a first try. Claims have a way of their own, in the booking functions.

An operation that asks somebody outside cannot be one transaction. It takes the key with a commit of its own, and an equal
request that comes meanwhile is answered 409. It must bear to be begun again, because its process may die on the way.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from holdfast.platform.calls import Answer, Call
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Busy, IdempotencyMismatch, StillRunning
from holdfast.platform.settings import Settings

REPLAYED = (b"idempotency-replayed", b"true")
PRUNED_AT_ONCE = 1000
_TRIES = 3
# Longer than any operation that asks somebody outside may take: then its process is taken for dead.
PROMISE_SECONDS = 150.0
_UNKEPT = 0

sql = load_queries(__file__)

Operation = Callable[[Call[Any], Transaction], Awaitable[Answer]]
Steps = Callable[[Call[Any]], Awaitable[Answer]]
CallerName = Callable[[Call[Any]], str]


class Once:
    """What `build_app(once=...)` takes. `caller_name` tells whose key it is: equal keys of two callers are two keys.

    The operation runs on `call.db`, and so do the key and the answer: for staff, that is their organizer's share.
    """

    def __init__(self, caller_name: CallerName) -> None:
        self._caller_name = caller_name
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    async def run(self, call: Call[Any], handler: Operation) -> Answer:
        """The handler's answer, done now, or given before to an equal request: then with `Idempotency-Replayed: true`.

        Without a key the handler simply runs in a transaction. Raises IdempotencyMismatch when the key came with
        another request, Busy, and whatever the handler raises.
        """
        key = call.idempotency_key()
        if key is None:
            async with call.db.transaction() as tx:
                return (await handler(call, tx)).encoded()
        caller = self._caller_name(call)
        async with self._turn(caller, key):
            for _ in range(_TRIES):
                answer = await self._try(call, handler, caller, key)
                if answer is not None:
                    return answer
        raise Busy

    async def run_steps(self, call: Call[Any], handler: Steps) -> Answer:
        """The answer of a handler that commits by itself, as often as it must, done now or given before.

        Raises StillRunning while an equal request is under way, IdempotencyMismatch, Busy, and whatever the handler
        raises: then the key is free again.
        """
        key = call.idempotency_key()
        if key is None:
            return (await handler(call)).encoded()
        caller, fingerprint = self._caller_name(call), call.fingerprint()
        if not await call.db.value(sql.answer_promised, caller, key, fingerprint, PROMISE_SECONDS):
            row = await call.db.row(sql.answer_kept, caller, key)
            if row is not None and row["fingerprint"] != fingerprint:
                raise IdempotencyMismatch
            if row is None or row["status"] == _UNKEPT:
                raise StillRunning
            return _given_again(row)
        try:
            answer = (await handler(call)).encoded()
        except BaseException:
            await call.db.execute(sql.answer_withdrawn, caller, key)
            raise
        await call.db.execute(sql.answer_stored, caller, key, *_kept(answer))
        return answer

    async def _try(self, call: Call[Any], handler: Operation, caller: str, key: str) -> Answer | None:
        fingerprint = call.fingerprint()
        async with call.db.transaction() as tx:
            if await tx.value(sql.answer_begun, caller, key, fingerprint):
                answer = (await handler(call, tx)).encoded()
                await tx.execute(sql.answer_stored, caller, key, *_kept(answer))
                return answer
            row = await tx.row(sql.answer_kept, caller, key)
        if row is None:
            # It was pruned between the two statements; the next try is the first.
            return None
        if row["fingerprint"] != fingerprint:
            raise IdempotencyMismatch
        return _given_again(row)

    @asynccontextmanager
    async def _turn(self, caller: str, key: str) -> AsyncIterator[None]:
        # Equal requests of this process wait here and not inside the database, where each would keep a connection.
        lock, users = self._turns.get((caller, key)) or (asyncio.Lock(), 0)
        self._turns[caller, key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._turns[caller, key][1] - 1
            if users:
                self._turns[caller, key] = (lock, users)
            else:
                del self._turns[caller, key]


async def prune(db: Database, settings: Settings) -> int:
    """Forgets the answers older than `idempotency_hours`, PRUNED_AT_ONCE in a transaction; says how many. Raises Busy."""
    pruned = 0
    while True:
        gone = await db.execute(sql.answers_pruned, settings.idempotency_hours, PRUNED_AT_ONCE)
        pruned += gone
        if gone < PRUNED_AT_ONCE:
            return pruned


async def forget(tx: Transaction, ids: Sequence[str]) -> int:
    """Forgets every answer whose body speaks of one of these ids, whoever it was given to; how many.

    For when somebody is erased: a retry is then done afresh. Reads all answers that are kept.
    """
    return await tx.execute(sql.answers_forgotten, list(ids))


def _kept(answer: Answer) -> tuple[int, list[list[str]], bytes]:
    assert answer.body is None or isinstance(answer.body, bytes), "a stream cannot be given again"
    lines = [(b"content-type", answer.media), *answer.headers]
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in lines]
    return answer.status, headers, answer.body or b""


def _given_again(row: Record) -> Answer:
    (_, media), *lines = row["headers"]
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in lines)
    return Answer(row["status"], row["body"] or None, (*headers, REPLAYED), media.encode("latin-1"))
