"""What may not be read in a log line, whoever wrote it."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from holdfast.platform import telemetry
from tests.conftest import UNFIT_FOR_LOGS, _unfit_lines, log_plainly


@pytest.fixture
def as_served() -> Iterator[None]:
    """Afterwards the logs are the suite's again."""
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()
    log_plainly(logging.INFO)


@pytest.mark.usefixtures("as_served")
@pytest.mark.parametrize("style", ["json", "console"])
def test_an_address_and_a_token_are_masked(capsys: pytest.CaptureFixture[str], style: str) -> None:
    telemetry.configure_logs("info", style)
    line = structlog.get_logger(part="test")
    line.info("sent", to="eve.adams+x@example.org", header="Authorization: Bearer abcdefgh.ijklmnop", n=3)
    line.info("sent", to=["anna@mail.example.org", "öre@example.org"])
    try:
        raise ValueError("postgresql://app:hunter22@db.example.org/x")
    except ValueError:
        line.exception("failed")
    logging.getLogger("library").warning("no route to %s", "bob@example.org")
    text = capsys.readouterr().err
    assert not UNFIT_FOR_LOGS.search(text), text
    assert "e***@example.org" in text
    assert "Bearer ***" in text
    for hidden in ("dams", "nna", "hunter", "bob", "re@", "ijkl"):
        assert hidden not in text
    if style == "json":
        assert [json.loads(entry)["event"] for entry in text.splitlines()][:2] == ["sent", "sent"]


def test_a_line_without_either_stays_as_it_is() -> None:
    for line in (b'{"at":"@ 3 o\'clock","user":"@eve","handle":"a@b"}', b'{"bearers":"of good news"}'):
        assert telemetry.masked(line) == line


def test_the_suite_notices_an_address_and_a_token() -> None:
    structlog.get_logger(part="test").info("sent", to="eve@example.org")
    logging.getLogger("library").warning("sent with %s", "Bearer abcdefghijk")
    assert len(_unfit_lines) == 2
    _unfit_lines.clear()
