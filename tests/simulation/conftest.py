"""What the simulations of the suite share."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from holdfast.platform.embedded import Server
from holdfast.platform.settings import Settings
from tests import conftest as suite
from tests.simulation.inprocess import House, open_house

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All but the judge takes minutes: it is run on its own, by `./holdfast test -m long`."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.name != "test_judge.py":
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Only errors are logged, without the values of all variables: else writing them costs more than the run."""
    before = structlog.get_config()
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        processors=[structlog.processors.add_log_level, plain],
    )
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module")
async def house(server: Server) -> AsyncIterator[House]:
    """Two served engines and a worker, for all seeds of a file: each has shows of its own."""
    name = f"house_{uuid4().hex}"
    await suite._execute(server.dsn, f"create database {name} template {suite.TEMPLATE} strategy file_copy")
    url = suite._url(server.dsn, name)
    async with open_house(Settings(database_url=url, secret_key=suite.SECRET)) as opened:
        yield opened
    await suite._execute(server.dsn, f"drop database {name} with (force)")
