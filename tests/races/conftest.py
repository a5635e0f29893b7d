"""Two engines for every race, and logs that say no more than what went wrong."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from holdfast.engine import Engine
from tests.conftest import log_plainly


@pytest.fixture(autouse=True, scope="package")
def quiet(plain_logs: None) -> Iterator[None]:
    """Thousands of refusals are not worth a line each."""
    log_plainly(logging.WARNING)
    yield
    log_plainly(logging.INFO)


@pytest.fixture
async def engines(engine: Engine, open_another: Callable[..., Any]) -> AsyncIterator[list[Engine]]:
    """Two engines on one database, as two processes would have them."""
    async with open_another() as other:
        yield [engine, other]
