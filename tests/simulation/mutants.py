"""The product with one guard taken away at a time. Each change replaces a piece of the functions' text, which must be there.

Only the functions and constraints of one database are changed; the code that calls them is as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import booking
from tests.simulation.inprocess import execute

# Those that the walk calls: no money comes late in it, and nothing is scanned.
FUNCTIONS = [Path(booking.__file__).with_name(name) for name in ("functions.sql", "block_functions.sql")]
_NO_SEAT_CHECK = ("t.seat is null as free", "true as free")
_NO_STOCK_CHECK = "alter table stock drop constraint never_oversold"


@dataclass(frozen=True)
class Mutant:
    """`changes` are (text, what stands there instead), whatever the white space; `statements` run besides; `caught` are
    the rules that may tell it.
    """

    name: str
    changes: Sequence[tuple[str, str]]
    caught: tuple[str, ...]
    statements: Sequence[str] = ()


MUTANTS = [
    Mutant(
        "no check of seats and no key",
        [_NO_SEAT_CHECK],
        ("seat", "end: seat"),
        ["alter table claims drop constraint claims_pkey", _NO_STOCK_CHECK],
    ),
    Mutant(
        "no check of the stock and no constraint",
        [("if v_left[p_area[i]] < k then", "if false then")],
        ("counter", "end: counter"),
        [_NO_STOCK_CHECK],
    ),
    Mutant(
        "a claim overwrites another",
        [
            _NO_SEAT_CHECK,
            (
                "from unnest(v_given, v_given_to) g(seat, held_by);",
                """from unnest(v_given, v_given_to) g(seat, held_by)
                     on conflict (show_id, seat) do update set held_by = excluded.held_by;""",
            ),
        ],
        ("seat", "end: seat"),
        [_NO_STOCK_CHECK],
    ),
    Mutant(
        "expiry ignored at confirm",
        [("when v_booking.expires_at <= v_now then 'hold_expired'", "")],
        ("expiry", "end: expiry"),
    ),
    Mutant(
        "expiry ignored at extend",
        [("when v_booking.expires_at <= clock_timestamp() then 'hold_expired'", "")],
        ("time", "step", "expiry", "end: expiry"),
    ),
    Mutant(
        "extended again and again",
        [("when v_booking.extended or v_deadline", "when v_deadline")],
        ("step", "end: step"),
    ),
    Mutant(
        "idempotency off",
        [
            ("where y.show_id = p_show_id and y.key = any (p_key)", "where false"),
            (
                "where u.key is not null and u.outcome in ('pending', 'confirmed');",
                "where u.key is not null and u.outcome in ('pending', 'confirmed') on conflict do nothing;",
            ),
        ],
        ("key", "end: key"),
    ),
    Mutant("another request under the same key", [("else 'mismatch' end", "else 'replayed' end")], ("key", "places")),
    Mutant(
        "a counter not moved back",
        [("set reserved = s.reserved - d.places", "set reserved = s.reserved")],
        ("counter", "best", "end: counter"),
    ),
    Mutant(
        "a released seat stays claimed",
        [
            ("c.seat = any (p_seats) and c.held_by = any (p_holders);", "false;"),
            ("assert v_deleted = cardinality(p_seats), 'a live booking did not hold its seats';", ""),
        ],
        ("seat", "end: seat"),
    ),
    Mutant(
        "blocked seats are sold",
        [("select p_show_id, s, p_block_id from unnest(p_seats) s;", "select p_show_id, s, p_block_id from unnest(p_seats) s where false;")],
        ("seat", "end: seat"),
    ),
    Mutant("sold while the sale is paused", [("when not v_head.selling or", "when")], ("sale",)),
    Mutant(
        "a sale that nobody hears of",
        [
            (
                """perform announce(p_show_id, md5(p_booking_id::text || ':' || v_booking.version)::uuid,
                                    'booking.confirmed', booking_facts(v_booking));""",
                "",
            )
        ],
        ("end: fact",),
    ),
    Mutant(
        "an expired hold freed, and not ended",
        [
            ("set status = 'FAILED', reason = 'expired', ended_at = p_now, version = b.version + 1", "set version = b.version + 1"),
            ("assert v_deleted = cardinality(p_seats), 'a live booking did not hold its seats';", ""),
        ],
        ("seat", "step", "counter", "end: seat", "end: freed", "end: counter", "error"),
    ),
]  # fmt: skip

# A cancellation takes its booking before the head, and who holds the head waits for bookings.
CIRCLE = Mutant(
    "locks in another order",
    [
        (
            "select h.revision into at_revision from show_heads h where h.show_id = p_show_id for no key update;",
            """perform from bookings b where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
               select h.revision into at_revision from show_heads h where h.show_id = p_show_id for no key update;""",
        ),
        ("for update skip locked) x;", "for update) x;"),
    ],
    ("end: deadlock",),
)


def mutated(mutant: Mutant) -> str:
    """The functions of a mutant. Asserts that each piece stands exactly once."""
    text = "".join(path.read_text("utf-8") for path in FUNCTIONS)
    for guarded, unguarded in mutant.changes:
        pattern = r"\s+".join(map(re.escape, guarded.split()))
        text, found = re.subn(pattern, lambda _, instead=unguarded: instead, text)  # type: ignore[misc]
        assert found == 1, f"{mutant.name}: stands {found} times in the functions: {guarded}"
    return text


async def mutate(database_url: str, mutant: Mutant) -> None:
    """Takes the guard away in this database."""
    for statement in [mutated(mutant), *mutant.statements]:
        await execute(database_url, statement)
