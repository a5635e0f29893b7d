"""Data folders: an empty one, and copies of one that a first `up` filled with the demonstration."""

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from holdfast.platform.embedded import Server
from tests.cli.running import Up, new_folder, until


@dataclass
class FirstStart:
    """What a first `up` on an empty folder said and answered, and how it ended. Its data folder stays."""

    folder: Path
    said: str
    log: str
    password: str
    shows: list[dict[str, Any]]
    own_shows: list[dict[str, Any]]
    status: int
    leftovers: list[str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder."""
    made = new_folder()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def first_start() -> Iterator[FirstStart]:
    """A first `up`, stopped by Ctrl-C."""
    made = new_folder()
    with Up(made) as up:
        until(lambda: up.answers("/v1/shows"), "an answer")
        owner = up.sign_in()
        shows = up.get("/v1/shows").json()["shows"]
        own_shows = up.get("/v1/shows?mine=true", headers=owner).json()["shows"]
        status = up.stop(signal.SIGINT)
    yield FirstStart(made, up.said, up.log, up.password(), shows, own_shows, status, up.leftovers())
    shutil.rmtree(made)


@pytest.fixture
def with_demo(first_start: FirstStart, folder: Path) -> Path:
    """A folder whose data is as the first `up` left it."""
    subprocess.run(["cp", "-a", str(first_start.folder / "data"), str(folder / "data")], check=True)
    return folder


@pytest.fixture
async def empty_database_url(server: Server) -> AsyncIterator[str]:
    """A database without a single table."""
    name = f"empty_{uuid4().hex}"
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(f"create database {name}")
    yield server.dsn.replace("postgresql:///holdfast?", f"postgresql:///{name}?")
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()
