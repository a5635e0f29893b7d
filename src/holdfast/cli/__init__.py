"""The command line.

`up` runs everything; `api`, `worker` and `migrate` run as separate processes; the rest looks after them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from holdfast import __version__
from holdfast.platform import settings as settings_
from holdfast.platform.settings import BadSetting, Settings

app = typer.Typer(
    help="Holdfast sells every place exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs_app = typer.Typer(help="Jobs that failed too often.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="8000")]
TlsCert = Annotated[Path | None, typer.Option(help="PEM file of the certificate and its chain: HTTPS.")]
TlsKey = Annotated[Path | None, typer.Option(help="PEM file of the certificate's key.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the embedded database.", show_default="./data")]


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    data: Data = None,
    demo: Annotated[bool, typer.Option(help="Fill an empty database with a venue and six shows.")] = True,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="API processes.", show_default="1")
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when the code changes.")] = False,
) -> None:
    """Run everything here: PostgreSQL, the API, the workers. Ctrl-C stops it all."""
    from holdfast.cli.up import run_up

    settings = _settings(
        host=host,
        port=port,
        data=_text(data),
        workers=workers,
        tls_cert=_text(tls_cert),
        tls_key=_text(tls_key),
    )
    with _failures_told():
        run_up(settings, demo=demo, reload=reload)


@app.command()
def api(
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A listening socket to take over.")] = None,
) -> None:
    """Serve the API on a database of yours (HOLDFAST_DATABASE_URL, HOLDFAST_SECRET_KEY)."""
    from holdfast.cli.serving import run, serve

    settings = _settings(host=host, port=port, tls_cert=_text(tls_cert), tls_key=_text(tls_key))
    _need_database(settings)
    with _failures_told():
        run(serve(settings, fd))


@app.command()
def worker() -> None:
    """Sweep holds, hand facts on and run jobs, on a database of yours. Run as many as you like."""
    from holdfast.cli.serving import run, work

    settings = _settings()
    _need_database(settings)
    with _failures_told():
        run(work(settings))


@app.command()
def migrate(
    data: Data = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is missing; exit 1 when something is.")
    ] = False,
    phase: Annotated[str, typer.Option(help="pre, post or all.")] = "all",
) -> None:
    """Bring the database up to this version of Holdfast."""
    from holdfast.platform import migrate as migrate_

    if phase not in ("pre", "post", "all"):
        _fail(f"--phase is pre, post or all, not {phase}.")

    async def work(database: Any) -> None:
        try:
            waiting = [s.name for s in await migrate_.pending(database) if phase in ("all", s.phase)]
            if check:
                out.print("\n".join(waiting) or "Nothing is missing.")
                raise typer.Exit(1 if waiting else 0)
            applied = await migrate_.migrate(database, ("pre", "post") if phase == "all" else (phase,))  # type: ignore[arg-type]
            out.print("\n".join(applied) or "Nothing was missing.")
        except migrate_.MigrationError as error:
            _fail(str(error), 1)

    _with_database(_settings(data=_text(data)), work, migrated=False)


@app.command()
def seed(
    data: Data = None,
    shows: Annotated[int, typer.Option(min=1, max=10_000, help="Shows to make.")] = 1,
    seats: Annotated[int, typer.Option(min=1, max=200_000, help="Seats of each show.")] = 1200,
    bookings: Annotated[
        int, typer.Option(min=0, max=100_000_000, help="Past bookings to write, in all.")
    ] = 0,
    template: Annotated[str, typer.Option(help="hall, theatre, bus or appointments.")] = "hall",
) -> None:
    """Make shows, and old bookings, to try things on."""
    from holdfast.cli.demo import seed_more

    if template not in ("hall", "theatre", "bus", "appointments"):
        _fail(f"--template is hall, theatre, bus or appointments, not {template}.")
    settings = _settings(data=_text(data))

    async def work(database: Any) -> None:
        await seed_more(
            database, settings, out, shows=shows, seats=seats, bookings=bookings, template=template
        )

    _with_database(settings, work)


@app.command()
def reseal(data: Data = None) -> None:
    """Seal everything again under the first secret, so that the old one can be dropped."""
    from holdfast.cli.installation import SECRET, kept
    from holdfast.cli.resealing import reseal as reseal_
    from holdfast.platform.secret import Secrets

    settings = _settings(data=str(data) if data else None)
    path = Path(settings.data).absolute() / SECRET
    if settings.secret_key is None and not path.exists():
        _fail("HOLDFAST_SECRET_KEY is not set. It should be `new,old`, as the processes have it by now.")

    async def work(database: Any) -> None:
        async for line in reseal_(database, Secrets(settings.secret_key or kept(path, str))):
            out.print(line)

    _with_database(settings, work)


@app.command()
def reconcile(
    provider: Annotated[
        str | None, typer.Option(help="One of HOLDFAST_PAYMENTS.", show_default="all")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="From when, in UTC.", show_default="7 days ago")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Until when, in UTC.", show_default="now")] = None,
    ours: Annotated[bool, typer.Option("--ours", help="Leave out entries that carry no id of ours.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    data: Data = None,
) -> None:
    """Compare payments and refunds with the providers' books; exit 1 when something differs. Changes nothing."""
    from holdfast.cli.installation import SECRET, kept
    from holdfast.cli.reconciling import differences, print_differences, span_of
    from holdfast.payments import ProviderDown, ProviderRefused
    from holdfast.platform.secret import Secrets

    settings = _settings(data=_text(data))
    path = Path(settings.data).absolute() / SECRET
    if settings.secret_key is None and not path.exists():
        _fail("HOLDFAST_SECRET_KEY is not set.")

    async def work(database: Any) -> None:
        span = span_of(since, until, datetime.now(UTC))
        secrets = Secrets(settings.secret_key or kept(path, str))
        try:
            found = await differences(database, settings, secrets, provider, *span, ours_alone=ours)
        except (ProviderDown, ProviderRefused) as error:
            _fail(f"The provider's books cannot be read: {error}")
        print_differences(out, found, as_json=json)
        if any(found.values()):
            raise typer.Exit(1)

    _with_database(settings, work)


@app.command()
def config() -> None:
    """Print the effective settings, secrets hidden."""
    from holdfast.platform.edge import unprotected

    table = Table("variable", "value", "what it is", box=None)
    settings = _settings()
    for variable, value, description in settings_.described(settings):
        table.add_row(variable, value, description)
    out.print(table)
    for sentence in unprotected(settings):
        err.print(f"holdfast: {sentence}", style="yellow", markup=False)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


@app.command(hidden=True)
def document(
    what: Annotated[str, typer.Argument(help="openapi, errors, facts, permissions, settings or schema.")],
    write: Annotated[bool, typer.Option("--write", help="Write the file instead of comparing it.")] = False,
) -> None:
    """Generate a document that is checked in, or say that it is stale (exit 1)."""
    from holdfast.cli.documents import DOCUMENTS, is_fresh

    if what not in DOCUMENTS:
        _fail(f"There is no document {what}; there are {', '.join(DOCUMENTS)}.")
    if not is_fresh(what, write=write):
        _fail(f"{DOCUMENTS[what].path} is stale: run `./holdfast document {what} --write`.")


@jobs_app.command("dead")
def jobs_dead(
    data: Data = None, limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 50
) -> None:
    """List dead letters, the latest first."""
    from holdfast.platform import jobs

    async def work(database: Any) -> None:
        letters = await jobs.dead(database, limit=limit)
        table = Table("id", "kind", "attempts", "died", "last error", box=None)
        for letter in letters:
            table.add_row(
                str(letter.id),
                letter.kind,
                str(letter.attempts),
                f"{letter.died_at:%Y-%m-%d %H:%M:%S}",
                letter.last_error,
            )
        out.print(table if letters else "There are no dead letters.")

    _with_database(_settings(data=_text(data)), work)


@jobs_app.command("replay")
def jobs_replay(
    job_id: Annotated[UUID, typer.Argument(help="The id that `jobs dead` shows.")], data: Data = None
) -> None:
    """Give a dead letter another life."""
    _end_letter(job_id, data, "replay", "It runs again.")


@jobs_app.command("discard")
def jobs_discard(
    job_id: Annotated[UUID, typer.Argument(help="The id that `jobs dead` shows.")], data: Data = None
) -> None:
    """Throw a dead letter away."""
    _end_letter(job_id, data, "discard", "It is gone.")


def _end_letter(job_id: UUID, data: Path | None, what: str, said: str) -> None:
    from holdfast.platform import jobs

    async def work(database: Any) -> None:
        async with database.transaction() as tx:
            if not await getattr(jobs, what)(tx, job_id):
                _fail("There is no dead letter with this id. `holdfast jobs dead` lists them.", 1)
        out.print(said)

    _with_database(_settings(data=_text(data)), work)


def main() -> None:
    """The entry point of `holdfast`."""
    app(prog_name="holdfast")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _settings(**overrides: Any) -> Settings:
    try:
        return settings_.read(**overrides)
    except BadSetting as error:
        _fail(str(error))


def _need_database(settings: Settings) -> None:
    if settings.database_url is None:
        _fail("HOLDFAST_DATABASE_URL is not set. To run with an embedded database: holdfast up")
    if settings.secret_key is None:
        _fail("HOLDFAST_SECRET_KEY is not set. `holdfast up` makes one; here it is yours to give.")


def _with_database(
    settings: Settings, work: Callable[[Any], Awaitable[None]], *, migrated: bool = True
) -> None:
    """Runs `work` on the database that the settings name, or on the embedded one, started for it when need be.

    `migrated`: it must exist and have the tables of this code.
    """
    from holdfast.cli.installation import Installation, InstallationError
    from holdfast.platform import migrate as migrate_
    from holdfast.platform import telemetry
    from holdfast.platform.db import open_database

    async def run(effective: Settings) -> None:
        database = await open_database(effective)
        try:
            if migrated and any(step.phase == "pre" for step in await migrate_.pending(database)):
                raise InstallationError("The database is not up to date: `holdfast migrate` sees to it.")
            await work(database)
        finally:
            await database.close()

    telemetry.configure_logs("error", "console")
    with _failures_told(), Installation(settings, existing=migrated) as installation:
        asyncio.run(run(installation.settings))


@contextmanager
def _failures_told() -> Iterator[None]:
    """What a person can do something about is said in a sentence, with exit status 1. A bug keeps its traceback."""
    from holdfast.cli.installation import InstallationError
    from holdfast.platform.embedded import EmbeddedFailed
    from holdfast.platform.errors import Busy
    from holdfast.platform.migrate import MigrationError

    try:
        yield
    except Busy as error:
        because = str(error.__cause__ or "")
        _fail(f"{error} ({because})" if because else str(error), 1)
    except (InstallationError, EmbeddedFailed, MigrationError) as error:
        _fail(str(error), 1)
    except BadSetting as error:
        _fail(str(error))


def _fail(message: str, status: int = 2) -> NoReturn:
    """Status 2 is for what was typed or set, 1 for what was found."""
    err.print(f"holdfast: {message}", style="red", markup=False)
    raise typer.Exit(status)
