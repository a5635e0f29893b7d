"""Two engines for every race, and logs that say no more than what went wrong."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog

from holdfast.engine import Engine


@pytest.fixture(autouse=True, scope="session")
def quiet() -> Iterator[None]:
    """Thousands of refusals are not worth a line each, and the local variables of a failed batch fill megabytes."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
async def engines(engine: Engine, open_another: Callable[..., Any]) -> AsyncIterator[list[Engine]]:
    """Two engines on one database, as two processes would have them."""
    async with open_another() as other:
        yield [engine, other]
