"""What the simulations of the suite share."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import structlog

from holdfast.engine import open_engine
from holdfast.platform.embedded import Server
from holdfast.platform.settings import Settings
from tests import conftest as suite
from tests.simulation.box_office import ORGANIZER, BoxOffice
from tests.simulation.history import record_facts
from tests.simulation.inprocess import House, open_house


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
    async with open_house(Settings(database_url=url, secret_key=suite.SECRET, rate_limits="off")) as opened:
        yield opened
    await suite._execute(server.dsn, f"drop database {name} with (force)")


@pytest.fixture
def box_office(server: Server) -> Iterator[type[BoxOffice]]:
    """The machine on a database and an engine of its own."""
    name = f"stateful_{uuid4().hex}"
    url = suite._url(server.dsn, name)
    with asyncio.Runner() as runner:
        runner.run(
            suite._execute(server.dsn, f"create database {name} template {suite.TEMPLATE} strategy file_copy")
        )
        runner.run(record_facts(url))
        opening = open_engine(Settings(database_url=url, secret_key=suite.SECRET, rate_limits="off"))
        engine = runner.run(opening.__aenter__())
        runner.run(
            engine.db.execute(
                "insert into organizers (organizer_id, name) values ($1, 'Model House')", ORGANIZER
            )
        )
        yield type("BoxOffice", (BoxOffice,), {"engine": engine, "url": url, "do": staticmethod(runner.run)})
        runner.run(opening.__aexit__(None, None, None))
        runner.run(suite._execute(server.dsn, f"drop database {name} with (force)"))
