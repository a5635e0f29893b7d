"""`holdfast reconcile`: the books of a payment provider beside ours."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from holdfast import payments
from holdfast.payments import Difference, Provider
from holdfast.platform.db import Database
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings

SPAN = timedelta(days=7)


def span_of(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From when until when, in UTC: by default the seven days before `until`, which is by default now.

    Raises BadSetting for a span that is empty or longer than payments.RECONCILED_DAYS_MAX.
    """
    end = now if until is None else until.replace(tzinfo=until.tzinfo or UTC)
    begin = end - SPAN if since is None else since.replace(tzinfo=since.tzinfo or UTC)
    if not begin < end:
        raise BadSetting("--since lies not before --until.")
    if end - begin > timedelta(days=payments.RECONCILED_DAYS_MAX):
        raise BadSetting(f"From --since to --until are at most {payments.RECONCILED_DAYS_MAX} days.")
    return begin, end


async def differences(
    db: Database, settings: Settings, secrets: Secrets, name: str | None, since: datetime, until: datetime, *, ours_alone: bool
) -> dict[str, list[Difference]]:  # fmt: skip
    """The differences by provider: of the one of this name, or of all that HOLDFAST_PAYMENTS names.

    Raises BadSetting for a provider that is not set up, ProviderDown and ProviderRefused.
    """
    providers = payments.open_providers(settings, db, secrets)
    try:
        if name is not None and name not in providers:
            raise BadSetting(f"{name} is not among the providers of HOLDFAST_PAYMENTS: {', '.join(providers) or 'none'}.")  # fmt: skip
        wanted: Sequence[Provider] = [each for key, each in providers.items() if name in (None, key)]
        return {
            each.name: [
                one async for one in payments.reconcile(db, each, since, until, ours_alone=ours_alone)
            ]
            for each in wanted
        }
    finally:
        for each in providers.values():
            await each.aclose()


def print_differences(out: Console, found: dict[str, list[Difference]], *, as_json: bool) -> None:
    """A table with a row for each difference, or one JSON object by line."""
    if as_json:
        for provider, several in found.items():
            for one in several:
                line: dict[str, Any] = {"provider": provider, **msgspec.to_builtins(one)}
                out.print(msgspec.json.encode(line).decode(), markup=False, soft_wrap=True)
        return
    table = Table("provider", "what", "fault", "here", "there", "at", "show", "id", "provider's id", box=None)
    for provider, several in found.items():
        for one in several:
            table.add_row(
                provider, one.kind, one.fault, one.here or "-", one.there or "-", f"{one.at:%Y-%m-%d %H:%M}",
                str(one.show_id or "-"), str(one.id or "-"), one.ref or "-",
            )  # fmt: skip
    if any(found.values()):
        out.print(table)
    else:
        out.print("No payment provider is set up." if not found else "The books agree.")
