"""A server without limits is for this machine alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.running import SECRET, Running, environment, holdfast, new_folder
from tests.ports import free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = new_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "command, variable, value",
    [
        ("up", "HOLDFAST_HOST", "0.0.0.0"),
        ("api", "HOLDFAST_HOST", "::"),
        ("api", "HOLDFAST_TRUSTED_PROXIES", "127.0.0.1"),
    ],
)
def test_off_is_refused_where_others_could_ask(command: str, variable: str, value: str, folder: Path) -> None:
    environ = environment(
        HOLDFAST_RATE_LIMITS="off", HOLDFAST_PORT=str(free_port()), HOLDFAST_DATA=str(folder / "data"),
        HOLDFAST_SECRET_KEY=SECRET, HOLDFAST_DATABASE_URL="postgresql:///nowhere", **{variable: value},
    )  # fmt: skip
    done = holdfast(command, environ=environ)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "HOLDFAST_RATE_LIMITS=off" in done.stderr
    assert "loopback alone" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "data").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("setting, told", [("off", False), ("on", True)])
async def test_it_says_by_the_answer_whether_it_counts(
    setting: str, told: bool, database_url: str, folder: Path
) -> None:
    port = free_port()
    environ = environment(
        HOLDFAST_RATE_LIMITS=setting, HOLDFAST_DATABASE_URL=database_url, HOLDFAST_SECRET_KEY=SECRET
    )
    with Running("api", "--port", str(port), folder=folder, port=port, environ=environ) as api:
        answer: httpx.Response = api.wait_until_ready().get("/v1/shows")
        assert answer.status_code == 200
        assert ("ratelimit" in answer.headers) is told
