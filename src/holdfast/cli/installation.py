"""What `up` keeps in its data folder: the embedded database, the secret, the first owner. Other commands find it there."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from holdfast.platform import telemetry
from holdfast.platform.embedded import AlreadyRunning, EmbeddedFailed, Server
from holdfast.platform.secret import generate
from holdfast.platform.settings import Settings

SECRET = "secret"  # noqa: S105 -- the name of a file
OWNER = "owner.txt"

log = telemetry.log("installation")


class InstallationError(Exception):
    """The installation cannot be used; the message says why and what to do."""


class Installation:
    """A database to work on: the one that the settings name, or the embedded one of the data folder.

    `with` starts the embedded server unless somebody else has it running, and stops it when it was started here;
    `settings` then name a database. With `existing` no new database is made. `whole` is for `up`: nobody else may have
    the server running, and `settings` also name a secret key, which is made and kept when there is none.
    """

    def __init__(self, settings: Settings, *, whole: bool = False, existing: bool = False) -> None:
        self.data = Path(settings.data).absolute()
        self.settings = settings
        self.server: Server | None = None
        self._whole = whole
        self._existing = existing

    def __enter__(self) -> Self:
        if self._existing and self.settings.database_url is None and not (self.data / "postgres").exists():
            raise InstallationError(
                f"There is no database in {self.data} yet: `holdfast up` makes one, --data names another folder."
            )
        changes = {}
        try:
            if self.settings.database_url is None:
                changes["database_url"] = self._start()
            if self._whole and self.settings.secret_key is None:
                changes["secret_key"] = kept(self.data / SECRET, generate)
        except (AlreadyRunning, EmbeddedFailed, InstallationError, OSError) as error:
            self._stop()
            raise InstallationError(str(error)) from error
        self.settings = msgspec.structs.replace(self.settings, **changes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def owner_password(self) -> str:
        """The first owner's password: the one set, or one made here and kept in the data folder."""
        if self.settings.admin_password is not None:
            return self.settings.admin_password
        line = kept(self.data / OWNER, lambda: f"{self.settings.admin_email} {secrets.token_urlsafe(12)}")
        return line.partition(" ")[2]

    def _start(self) -> str:
        server = Server(self.data, binaries=self.settings.postgres_bin, on_log=log.warning)
        try:
            server.start()
        except AlreadyRunning:
            if self._whole:
                raise
            return server.dsn
        self.server = server
        return server.dsn

    def _stop(self) -> None:
        if self.server is not None:
            self.server.stop()


def kept(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that only its owner can read; made, and written whole, when there is none.

    Raises InstallationError when it can be neither read nor written.
    """
    try:
        if path.exists():
            return path.read_text("utf-8").strip()
        text = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        with open(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InstallationError(str(error)) from error
    return text
