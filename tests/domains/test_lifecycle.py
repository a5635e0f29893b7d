"""The steps of a booking: what the code says, what the guide draws and what the database lets stand are the same."""

import re
from itertools import product
from pathlib import Path

import pytest

from holdfast.booking.lifecycle import STEPS
from holdfast.platform.db import CheckViolation, Database, Query
from holdfast.platform.ids import new_id

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "bookings.md"
STATUSES = {to for _, to in STEPS} | {"REFUNDED"}
REASONS = {reason for reasons in STEPS.values() for reason in reasons} | {"seats_taken", "unheard_of"}
# A claim that waits, or that came to nothing there, is in a table of its own.
STANDING = {
    (to, reason) for (of, to), reasons in STEPS.items() if "QUEUED" not in (of, to) for reason in reasons
}

STAND = Query(
    "test.stand",
    """insert into bookings (show_id, booking_id, organizer_id, reference, status, reason, quantity, areas, seats, tiers,
                             amounts, total, currency, created_at, expires_at, confirmed_at, ended_at)
       values ($1, $1, $1, 'R', $2, $3, 1, '{1}', '{}', '{0}', '{0}', 0, 'EUR', now(), now(),
               case when $2 in ('CONFIRMED', 'CANCELLED') then now() end, case when $3::text is not null then now() end)""",
)


@pytest.mark.anyio
async def test_a_booking_stands_only_where_a_step_leads(db: Database) -> None:
    stands = set()
    for status, reason in product(STATUSES, REASONS):
        try:
            await db.execute(STAND, new_id(), status, reason)
        except CheckViolation:
            continue
        stands.add((status, reason))
    assert stands == STANDING


def test_the_guide_draws_every_step() -> None:
    drawn: dict[tuple[str | None, str], frozenset[str | None]] = {}
    for line in GUIDE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[1] in STATUSES:
            of = None if cells[0] == "(nothing)" else cells[0]
            drawn[of, cells[1]] = frozenset(re.findall(r"`(\w+)`", cells[2]) or [None])
    # The refusals that a queued claim may end with are not drawn one by one.
    codes = STEPS["QUEUED", "FAILED"] - drawn["QUEUED", "FAILED"]
    assert {
        step: reasons | codes if step == ("QUEUED", "FAILED") else reasons for step, reasons in drawn.items()
    } == STEPS
