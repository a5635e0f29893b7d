"""The product with one guard taken away at a time. Each change replaces a piece of the functions' text, which must be there.

Only the functions and constraints of one database are changed; the code that calls them is as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import booking
from tests.simulation.inprocess import execute

FUNCTIONS = Path(booking.__file__).with_name("functions.sql")
_NO_SEAT_CHECK = ("claim", "t.seat is null as free", "true as free")
_CONFIRM_ANNOUNCES = """  perform announce(p_show_id, md5(p_booking_id::text || ':' || v_booking.version)::uuid, 'booking.confirmed',
                   booking_facts(v_booking));
"""
_OVERWRITE = """select p_show_id, g.seat, g.held_by from unnest(v_given, v_given_to) g(seat, held_by)
      on conflict (show_id, seat) do update set held_by = excluded.held_by;"""
_HEAD_FIRST = (
    "  select h.revision into at_revision from show_heads h where h.show_id = p_show_id for no key update;\n"
)
_BOOKING_FIRST = """
  perform from bookings b where b.show_id = p_show_id and b.booking_id = p_booking_id for no key update;
  perform pg_sleep(0.3);
"""


@dataclass(frozen=True)
class Mutant:
    """`changes` are (function, text, what stands there instead); `statements` run besides; `caught` are the rules that
    may tell it, by how they begin; `worker`: somebody must sweep.
    """

    name: str
    changes: Sequence[tuple[str, str, str]]
    caught: tuple[str, ...]
    statements: Sequence[str] = ()
    worker: bool = False


MUTANTS = [
    Mutant(
        "no check of seats and no key",
        [_NO_SEAT_CHECK],
        ("seat", "end: seat"),
        ["alter table claims drop constraint claims_pkey"],
    ),
    Mutant(
        "no check of the stock and no constraint",
        [("claim", "if v_left[p_area[i]] < k then", "if false then")],
        ("counter", "end: counter"),
        ["alter table stock drop constraint never_oversold"],
    ),
    Mutant(
        "a claim overwrites another",
        [
            _NO_SEAT_CHECK,
            (
                "claim",
                "select p_show_id, g.seat, g.held_by from unnest(v_given, v_given_to) g(seat, held_by);",
                _OVERWRITE,
            ),
        ],
        ("seat", "end: seat"),
    ),
    Mutant(
        "expiry ignored at confirm",
        [("confirm_booking", "    when v_booking.expires_at <= v_now then 'hold_expired'\n", "")],
        ("expiry", "end: expiry"),
    ),
    Mutant(
        "expiry ignored at extend",
        [("extend_booking", "    when v_booking.expires_at <= clock_timestamp() then 'hold_expired'\n", "")],
        ("time", "step", "expiry", "end: expiry"),
    ),
    Mutant(
        "extended again and again",
        [("extend_booking", "when v_booking.extended or v_deadline", "when v_deadline")],
        ("step", "end: step"),
    ),
    Mutant(
        "idempotency off",
        [
            ("claim", "where y.show_id = p_show_id and y.key = any (p_key) loop", "where false loop"),
            (
                "claim",
                "where u.key is not null and u.outcome in ('pending', 'confirmed');",
                "where u.key is not null and u.outcome in ('pending', 'confirmed') on conflict do nothing;",
            ),
        ],
        ("key", "end: key"),
    ),
    Mutant(
        "another request under the same key",
        [("claim", "case when v_row.fingerprint = p_fingerprint[v_b] then 'replayed' else 'mismatch' end", "'replayed'")],
        ("key", "places"),
    ),
    Mutant(
        "a counter not moved back",
        [("give_back", "set reserved = s.reserved - d.places", "set reserved = s.reserved")],
        ("counter", "best", "end: counter"),
    ),
    Mutant(
        "a released seat stays claimed",
        [
            (
                "give_back",
                "delete from claims c where c.show_id = p_show_id and c.seat = any (p_seats) and c.held_by = any (p_holders);",
                "select cardinality(p_seats) into v_deleted;",
            ),
            ("give_back", "    get diagnostics v_deleted = row_count;\n", ""),
        ],
        ("seat", "end: seat"),
    ),
    Mutant(
        "blocked seats are sold",
        [("block_places", "insert into claims (show_id, seat, held_by) select p_show_id, s, p_block_id from unnest(p_seats) s;", "")],
        ("seat", "end: seat"),
    ),
    Mutant(
        "sold while the sale is paused",
        [("claim", "when not v_head.selling or decided_at", "when decided_at")],
        ("sale",),
    ),
    Mutant("a sale that nobody hears of", [("confirm_booking", _CONFIRM_ANNOUNCES, "")], ("end: fact",)),
    Mutant(
        "an expired hold freed, and not ended",
        [
            (
                "fail_overdue",
                "update bookings b set status = 'FAILED', reason = 'expired', ended_at = p_now, version = b.version + 1",
                "update bookings b set version = b.version + 1",
            ),
            ("give_back", "assert v_deleted = cardinality(p_seats), 'a live booking did not hold its seats';", ""),
        ],
        ("seat", "step", "counter", "end: seat", "end: freed", "end: counter", "error"),
    ),
    Mutant(
        "locks in another order",
        [
            # A cancellation takes its booking before the head, and who holds the head waits for bookings.
            (
                "cancel_booking",
                _HEAD_FIRST,
                _BOOKING_FIRST + _HEAD_FIRST,
            ),
            ("fail_overdue", "limit p_max for update skip locked) x;", "limit p_max for update) x;"),
        ],
        ("end: deadlock",),
        worker=True,
    ),
]  # fmt: skip


def function(name: str) -> str:
    """The text of one function as the product has it."""
    text = FUNCTIONS.read_text("utf-8")
    start = text.index(f"create or replace function {name}(")
    return text[start : text.index("end $$;", start) + len("end $$;")]


def mutated(mutant: Mutant) -> list[str]:
    """The functions of a mutant. Asserts that each piece stands exactly once where it is looked for."""
    functions: dict[str, str] = {}
    for name, guarded, unguarded in mutant.changes:
        text = functions.get(name) or function(name)
        assert text.count(guarded) == 1, f"{mutant.name}: not where it is looked for in {name}: {guarded}"
        functions[name] = text.replace(guarded, unguarded)
    return list(functions.values())


async def mutate(database_url: str, mutant: Mutant) -> None:
    """Takes the guard away in this database."""
    for statement in [*mutated(mutant), *mutant.statements]:
        await execute(database_url, statement)
