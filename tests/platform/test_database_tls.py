"""A database on another machine: who listens on the line, and who pretends to be the server, gets nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from holdfast.platform.db import open_database
from holdfast.platform.errors import Busy
from holdfast.platform.settings import BadSetting, Settings
from tests.cli.running import new_folder
from tests.cli.test_serving import Authority, pem
from tests.conftest import program
from tests.ports import free_port

pytestmark = pytest.mark.anyio

# Nobody gets in without TLS, and nobody without a password.
HBA = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
PASSWORD = "pa/ss#word?with@all%of:it"


@dataclass
class TlsServer:
    """A PostgreSQL with a certificate for `localhost` that `authority` (a PEM file) has signed."""

    port: int
    authority: Path
    stranger: Path

    def url(self, **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://app:{quote(PASSWORD, safe='')}@localhost:{self.port}/postgres?{query}"


@pytest.fixture(scope="module")
def tls_server() -> Iterator[TlsServer]:
    """The system's own server: the embedded one is built without OpenSSL."""
    program("pg_ctlcluster")
    bins = max(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None
    )
    if bins is None:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql: apt install postgresql")
    folder, port, authority = new_folder(), free_port(), Authority()
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    authority.issue(folder)
    (folder / "ca.pem").write_bytes(pem(authority.certificate))
    (folder / "stranger.pem").write_bytes(pem(Authority().certificate))
    (folder / "key.pem").chmod(0o600)
    if user is not None:
        shutil.chown(folder / "key.pem", user)

    def run(*command: str) -> None:
        subprocess.run(
            [str(bins / command[0]), *command[1:]], user=user, cwd=folder, check=True, capture_output=True
        )

    data = folder / "data"
    try:
        run("initdb", "-D", str(data), "-U", "app", "--auth=trust", "--no-sync", "--encoding=UTF8")
        (data / "pg_hba.conf").write_text(HBA)
        settings = {
            "port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "ssl": "on",
            "ssl_cert_file": folder / "cert.pem", "ssl_key_file": folder / "key.pem", "fsync": "off",
        }  # fmt: skip
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        with open(data / "postgresql.conf", "a", encoding="utf-8") as config:
            config.writelines(lines)
        run("pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "start")
        try:
            set_password = f"alter role app password '{PASSWORD}'"
            run("psql", "-h", str(folder), "-p", str(port), "-U", "app", "-d", "postgres", "-c", set_password)
            yield TlsServer(port, folder / "ca.pem", folder / "stranger.pem")
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def connected(url: str) -> bool:
    """Whether the pool opens, and speaks TLS."""
    database = await open_database(Settings(database_url=url))
    try:
        return bool(await database.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()"))
    finally:
        await database.close()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_the_server_that_was_meant_is_spoken_to_under_tls(tls_server: TlsServer, mode: str) -> None:
    assert await connected(tls_server.url(sslmode=mode, sslrootcert=tls_server.authority))


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_server_that_somebody_else_vouches_for_is_refused(tls_server: TlsServer, mode: str) -> None:
    with pytest.raises(BadSetting, match="CERTIFICATE_VERIFY_FAILED") as refused:
        await connected(tls_server.url(sslmode=mode, sslrootcert=tls_server.stranger))
    assert "ss#word" not in str(refused.value)


async def test_a_server_of_another_name_is_refused(tls_server: TlsServer) -> None:
    url = tls_server.url(sslmode="verify-full", sslrootcert=tls_server.authority)
    with pytest.raises(BadSetting, match="CERTIFICATE_VERIFY_FAILED"):
        await connected(url.replace("@localhost:", "@127.0.0.1:"))
    assert await connected(url.replace("@localhost:", "@127.0.0.1:").replace("verify-full", "verify-ca"))


async def test_without_tls_the_server_refuses(tls_server: TlsServer) -> None:
    with pytest.raises(BadSetting, match="no encryption"):
        await connected(tls_server.url(sslmode="disable"))


async def test_a_missing_authority_is_said(tls_server: TlsServer) -> None:
    url = tls_server.url(sslmode="verify-full", sslrootcert="missing.pem")
    with pytest.raises((BadSetting, Busy)) as refused:
        await connected(url)
    assert "No such file" in f"{refused.value} {refused.value.__cause__}"


async def test_the_server_can_tell(tls_server: TlsServer) -> None:
    """The control: a driver that does not ask for TLS gets no line either way."""
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(tls_server.url(), ssl=False)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:zeb/zebra#zeb@localhost/x",
        "postgresql://app:zeb/zebra@localhost/x",
        "postgresql://app:zeb[zebra@localhost/x",
        "postgresql://app:zebra@[::1/x",
        "postgresql://localhost:zebra/x",
        "zebra://app@localhost/x",
        "postgresql://app@localhost/x?target_session_attrs=zebra",
    ],
)
async def test_no_part_of_a_password_is_said(url: str) -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_DATABASE_URL") as refused:
        await connected(url)
    assert "zeb" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_a_wrong_mode_is_said() -> None:
    with pytest.raises(BadSetting, match="sslmode"):
        await connected("postgresql://app@localhost/x?sslmode=always")
