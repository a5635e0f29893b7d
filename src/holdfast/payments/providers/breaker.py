"""A circuit breaker around a provider: who fails again and again is left alone for a while, and then tried by one call.

Each call has a time limit and is counted. A provider that says no works, so that only ProviderDown counts as a failure.
Each process finds out for itself; what it knows is lost with it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from holdfast.payments.provider import (
    Attempt,
    Listed,
    Notice,
    Opened,
    Provider,
    ProviderDown,
    ProviderRefused,
    Seen,
    SeenRefund,
    Wish,
)
from holdfast.platform import telemetry
from holdfast.platform.clock import monotonic
from holdfast.platform.db import no_transaction_is_open
from holdfast.platform.settings import Settings

T = TypeVar("T")

log = telemetry.log("payments")


class Guarded:
    """The same provider with time limits, metrics and a circuit breaker; raises what it raises, and ProviderDown at once
    while it is left alone.
    """

    def __init__(self, provider: Provider, settings: Settings) -> None:
        self.provider = provider
        self._seconds = settings.provider_seconds
        self._failures_max = settings.provider_failures_max
        self._pause_seconds = settings.provider_pause_seconds
        self._failures = 0
        self._alone_until = 0.0
        self._probing = False
        telemetry.PROVIDER_LEFT_ALONE.labels(provider.name).set(0)

    @property
    def name(self) -> str:
        """The provider's."""
        return self.provider.name

    async def open(self, attempt: Attempt) -> Opened:
        """As the provider does it."""
        return await self._call("open", lambda: self.provider.open(attempt))

    async def look(self, ref: str) -> Seen:
        """As the provider does it."""
        return await self._call("look", lambda: self.provider.look(ref))

    async def close(self, ref: str) -> Seen:
        """As the provider does it."""
        return await self._call("close", lambda: self.provider.close(ref))

    async def refund(self, wish: Wish) -> SeenRefund:
        """As the provider does it."""
        return await self._call("refund", lambda: self.provider.refund(wish))

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        """As the provider does it."""
        return await self._call("look_refund", lambda: self.provider.look_refund(refund_id, ref))

    async def listed(self, since: datetime, until: datetime) -> AsyncIterator[Listed]:
        """As the provider does it; the limit of time is for each entry, the first of a page being the slow one."""
        entries = aiter(self.provider.listed(since, until))
        while (entry := await self._call("listed", lambda: _next(entries))) is not None:
            yield entry

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """As the provider does it: without a call, so that webhooks are read while the provider is left alone, too."""
        return self.provider.read(headers, body)

    async def aclose(self) -> None:
        """As the provider does it."""
        await self.provider.aclose()

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        assert no_transaction_is_open(), "a transaction would wait for somebody else's server"
        # The caller may go away, or the adapter have a fault: that says nothing of the provider.
        began, outcome = monotonic(), "broken_off"
        try:
            result = await self._tried(call)
            outcome = "answered"
            self._works()
            return result
        except _LeftAlone:
            outcome = "left_alone"
            raise
        except ProviderDown as error:
            outcome = "down"
            self._failed(error)
            raise
        except ProviderRefused:
            outcome = "refused"
            self._works()
            raise
        finally:
            seconds = telemetry.PROVIDER_SECONDS.labels(self.name, name, outcome)
            seconds.observe(monotonic() - began)

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T:
        is_probe = self._alone_until > 0
        if is_probe:
            if self._probing or monotonic() < self._alone_until:
                raise _LeftAlone(f"{self.name} fails, and is left alone for a while")
            self._probing = True
        try:
            async with asyncio.timeout(self._seconds):
                return await call()
        except TimeoutError:
            raise ProviderDown(f"{self.name} did not answer in {self._seconds:g} s") from None
        finally:
            if is_probe:
                self._probing = False

    def _failed(self, error: ProviderDown) -> None:
        self._failures += 1
        log.warning("payment provider is down", provider=self.name, failures=self._failures, error=str(error))
        if self._failures >= self._failures_max:
            self._alone_until = monotonic() + self._pause_seconds
            telemetry.PROVIDER_LEFT_ALONE.labels(self.name).set(1)

    def _works(self) -> None:
        self._failures = 0
        if self._alone_until:
            self._alone_until = 0.0
            log.info("payment provider works again", provider=self.name)
            telemetry.PROVIDER_LEFT_ALONE.labels(self.name).set(0)


class _LeftAlone(ProviderDown):
    """The provider was not asked at all."""


async def _next(entries: AsyncIterator[Listed]) -> Listed | None:
    return await anext(entries, None)
