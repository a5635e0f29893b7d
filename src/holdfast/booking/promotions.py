"""Promotion codes of a show: a discount, hidden tiers that they reveal, or both.

What a code gives never changes, so that what was booked by it can be explained for ever; when, how often and for how many
places may. One use is one booking: it is counted with the claim, under the head's lock, and given back when the booking
ends. This process looks a code up and prices by it; whether it may be used now is the database's to say, with the places.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any
from unicodedata import normalize

import msgspec
from msgspec import UNSET, Meta, UnsetType

from holdfast import catalog
from holdfast.platform import clock
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal
from holdfast.platform.ids import REFERENCE_ALPHABET, CodeId, OrganizerId, ShowId, new_id
from holdfast.platform.money import AMOUNT_MAX

sql = load_queries(__file__, "promotions.sql")
heads = load_queries(__file__)

CODES_MAX = 50_000
GENERATED_MAX = 1_000
# 24^10 are 6e13 codes, so that a thousand of them are found by one guess in 6e10.
GENERATED_LENGTH = 10
KEY_LENGTH_MIN = 3
USES_MAX = 1_000_000
GENERATOR_TRIES_MAX = 5

# The reasons that `claim` has against a code that is right, as buyers are told them.
REASONS = {
    "code_withdrawn": ("withdrawn", "This code is not valid any more."),
    "code_early": ("early", "This code is not valid yet."),
    "code_expired": ("expired", "This code has expired."),
    "code_places": ("places", "This code is not for so many places."),
    "code_used_up": ("used_up", "This code has been used as often as it may be."),
    "code_tiers": ("tiers", "This code does nothing for these places."),
}


class CodeUnknown(Refusal):
    """The show has no such code. What is wrong with a code is told only to who has it."""

    code = "code_unknown"
    status = 400
    title = "There is no such code for this show."


class CodeRefused(Conflict):
    """The code is right, and cannot be used for this. `reason`: withdrawn, early, expired, places, used_up or tiers."""

    code = "code_refused"
    title = "This code cannot be used for this booking."


class CodeRequired(Refusal):
    """All tiers there are hidden."""

    code = "code_required"
    status = 409
    title = "These places are sold to who has a code."


class CodeNotFound(NotFound):
    code = "code_not_found"
    title = "There is no such code."


class CodeTaken(Conflict):
    """The show has this code, or one that differs in case, spaces and hyphens only. Withdrawn ones count."""

    code = "code_taken"
    title = "The show has this code already."


class UsesBelowUsed(Conflict):
    code = "uses_below_used"
    title = "The code has been used more often than that."


Moment = Annotated[datetime, Meta(tz=True)]
CodeText = Annotated[str, Meta(min_length=1, max_length=64)]
TierNumbers = Annotated[list[Annotated[int, Meta(ge=1, le=1000)]], Meta(max_length=1000)]
Uses = Annotated[int, Meta(ge=1, le=USES_MAX)]
PlacesEach = Annotated[int, Meta(ge=1, le=10_000)]


class CodeTerms(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What a code gives, when, how often and for how many places.

    A discount is a share (`discount_basis_points`; 1000 is 10 %) or a fixed `discount_amount` off the face value of each
    place, before fee and tax. `tiers` are those that it is for, by id; none named: all. `reveals` are hidden tiers that are
    sold to who has the code. `uses_max` counts bookings, `places_max` the places in one of them.
    """

    discount_basis_points: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    discount_amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    tiers: TierNumbers = []
    reveals: TierNumbers = []
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    uses_max: Uses | None = None
    places_max: PlacesEach | None = None


class CodeSpec(CodeTerms, frozen=True, kw_only=True):
    """A code as people type it. Case, spaces and hyphens make no difference."""

    code: CodeText


class CodesSpec(CodeTerms, frozen=True, kw_only=True):
    """Many codes of ten random letters and digits, behind a `prefix`; each has the same terms."""

    count: Annotated[int, Meta(ge=1, le=GENERATED_MAX)]
    prefix: Annotated[str, Meta(max_length=20, pattern="^[A-Za-z0-9-]*$")] = ""


class CodeEdit(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What changes; a field that is not sent stays. What a code gives cannot change: withdraw it, and make another."""

    starts_at: Moment | None | UnsetType = UNSET
    ends_at: Moment | None | UnsetType = UNSET
    uses_max: Uses | None | UnsetType = UNSET
    places_max: PlacesEach | None | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Code:
    """A code as the database has it. `used` counts the bookings that live."""

    show_id: ShowId
    code_id: CodeId
    organizer_id: OrganizerId
    code: str
    discount_basis_points: int | None
    discount_amount: int | None
    tiers: list[int]
    reveals: list[int]
    starts_at: datetime | None
    ends_at: datetime | None
    uses_max: int | None
    used: int
    places_max: int | None
    version: int
    created_at: datetime
    withdrawn_at: datetime | None

    def discount_on(self, tier: int) -> catalog.Discount | None:
        """What it takes off places of this tier."""
        if self.discount_basis_points is None and self.discount_amount is None:
            return None
        if self.tiers and tier not in self.tiers:
            return None
        return catalog.Discount(self.discount_basis_points, self.discount_amount)

    def serves(self, tier: int) -> bool:
        """Whether it does anything for places of this tier."""
        return tier in self.reveals or self.discount_on(tier) is not None

    def applied(self, show: catalog.Show) -> catalog.Show:
        """The show as it is to who has the code: the tiers that it reveals are open, and the prices are theirs."""
        tiers = (
            replace(
                tier,
                hidden=tier.hidden and tier.tier not in self.reveals,
                discount=self.discount_on(tier.tier),
            )
            for tier in show.tiers
        )
        return replace(show, tiers=tuple(tiers))

    def refuse_shut(self) -> None:
        """Raises CodeRefused when nobody may use it now, as far as is known here."""
        now = clock.now()
        if self.withdrawn_at is not None:
            raise code_refusal("code_withdrawn")
        if self.starts_at is not None and self.starts_at > now:
            raise code_refusal("code_early")
        if self.ends_at is not None and self.ends_at <= now:
            raise code_refusal("code_expired")
        if self.uses_max is not None and self.used >= self.uses_max:
            raise code_refusal("code_used_up")


def code_refusal(outcome: str) -> CodeRefused:
    """The refusal for what `claim` has against a code."""
    reason, detail = REASONS[outcome]
    return CodeRefused(detail, reason=reason)


def code_key(text: str) -> str:
    """What a code is compared as: without case, spaces and hyphens."""
    folded = normalize("NFKC", normalize("NFKC", text).casefold())
    return "".join(letter for letter in folded if letter != "-" and not letter.isspace())


async def code_named(db: Database | Transaction, show_id: ShowId, text: str) -> Code:
    """The code that somebody typed. Raises CodeUnknown; whether it may be used now is not looked at."""
    found = await codes_named(db, show_id, [text])
    if not found:
        raise CodeUnknown
    return found[code_key(text)]


async def codes_named(db: Database | Transaction, show_id: ShowId, texts: Iterable[str]) -> dict[str, Code]:
    """The codes that there are of those that somebody typed, by `code_key`."""
    # No text of the database has a zero, and no code either.
    keys = [key for key in map(code_key, texts) if key and "\0" not in key]
    rows = await db.rows(sql.codes_named, show_id, keys) if keys else []
    return {row["code_key"]: _code(row) for row in rows}


async def code_by_id(db: Database | Transaction, show_id: ShowId, code_id: CodeId) -> Code:
    """The code. Raises CodeNotFound."""
    row = await db.row(sql.code_by_id, show_id, code_id)
    if row is None:
        raise CodeNotFound
    return _code(row)


async def codes_of(db: Database, show_id: ShowId, after: CodeId, limit: int) -> list[Code]:
    """Up to `limit` codes behind a cursor, oldest first."""
    return [_code(row) for row in await db.rows(sql.codes_of, show_id, after, limit)]


async def make_code(tx: Transaction, show: catalog.Show, spec: CodeSpec) -> Code:
    """Writes a code. Raises Invalid, and CodeTaken."""
    text = catalog.printable(" ".join(spec.code.split()), "/code")
    if len(code_key(text)) < KEY_LENGTH_MIN:
        raise Invalid(f"A code has {KEY_LENGTH_MIN} letters or digits at least.", pointer="/code")
    made = await _insert(tx, show, spec, [text], 1)
    if not made:
        raise CodeTaken
    return made[0]


async def make_codes(tx: Transaction, show: catalog.Show, spec: CodesSpec) -> list[Code]:
    """Writes as many random codes as asked for. Raises Invalid."""
    made: list[Code] = []
    for _ in range(GENERATOR_TRIES_MAX):
        # What is there already is made anew.
        missing = spec.count - len(made)
        texts = [spec.prefix + _random() for _ in range(missing)]
        made += await _insert(tx, show, spec, texts, missing)
        if len(made) == spec.count:
            break
    assert len(made) == spec.count, "random codes were known again and again"
    return made


async def edit_code(
    tx: Transaction, show_id: ShowId, code_id: CodeId, edit: CodeEdit, version: int | None
) -> tuple[Code, Code]:
    """Changes when and how often a code may be used; the code before and after. Claims in flight come before or behind.

    Raises CodeNotFound, PreconditionFailed when `version` is given and has gone, UsesBelowUsed and Invalid.
    """
    await tx.row(heads.lock_head, show_id)
    before = await code_by_id(tx, show_id, code_id)
    if version is not None and version != before.version:
        raise PreconditionFailed(f"The code is at version {before.version}.")
    said = {name: value for name in CodeEdit.__struct_fields__ if (value := getattr(edit, name)) is not UNSET}
    wanted = replace(before, **said)
    _check_times(wanted.starts_at, wanted.ends_at, "/ends_at" if "ends_at" in said else "/starts_at")
    if wanted.uses_max is not None and wanted.uses_max < before.used:
        raise UsesBelowUsed(used=before.used)
    row = await tx.row(
        sql.set_code, show_id, code_id, _utc(wanted.starts_at), _utc(wanted.ends_at), wanted.uses_max,
        wanted.places_max,
    )  # fmt: skip
    assert row is not None
    return before, _code(row)


async def withdraw_code(tx: Transaction, show_id: ShowId, code_id: CodeId) -> Code | None:
    """Ends a code for good; None when it was withdrawn before. Bookings by it stay. Raises CodeNotFound."""
    await tx.row(heads.lock_head, show_id)
    await code_by_id(tx, show_id, code_id)
    row = await tx.row(sql.withdraw_code, show_id, code_id)
    return _code(row) if row else None


async def _insert(
    tx: Transaction, show: catalog.Show, terms: CodeTerms, texts: Sequence[str], count: int
) -> list[Code]:
    _check(show, terms)
    if await tx.value(sql.count_codes, show.show_id) + count > CODES_MAX:
        raise Invalid(f"A show has at most {CODES_MAX} codes.")
    rows = await tx.rows(
        sql.insert_codes, show.show_id, show.organizer_id, [new_id() for _ in texts], list(texts),
        [code_key(text) for text in texts], terms.discount_basis_points, terms.discount_amount, terms.tiers,
        terms.reveals, _utc(terms.starts_at), _utc(terms.ends_at), terms.uses_max, terms.places_max,
    )  # fmt: skip
    return [_code(row) for row in rows]


def _check(show: catalog.Show, terms: CodeTerms) -> None:
    if terms.discount_basis_points is not None and terms.discount_amount is not None:
        raise Invalid("A discount is a share or an amount.", pointer="/discount_amount")
    gives = terms.discount_basis_points is not None or terms.discount_amount is not None
    if not gives and not terms.reveals:
        raise Invalid("A code gives a discount, reveals tiers, or both.")
    if not gives and terms.tiers:
        raise Invalid("These tiers are for a discount, and there is none.", pointer="/tiers")
    known = {tier.tier: tier for tier in show.tiers}
    for name in ("tiers", "reveals"):
        numbers: list[int] = getattr(terms, name)
        for i, number in enumerate(numbers):
            if number not in known:
                raise Invalid("The show has no such tier.", pointer=f"/{name}/{i}")
            if number in numbers[:i]:
                raise Invalid("This tier is named twice.", pointer=f"/{name}/{i}")
    for name in ("starts_at", "ends_at"):
        _check_year(getattr(terms, name), f"/{name}")
    _check_times(terms.starts_at, terms.ends_at, "/ends_at")


def _check_times(starts_at: datetime | None, ends_at: datetime | None, pointer: str) -> None:
    for moment in (starts_at, ends_at):
        _check_year(moment, pointer)
    if starts_at is not None and ends_at is not None and starts_at >= ends_at:
        raise Invalid("The code ends before it starts.", pointer=pointer)


def _check_year(moment: datetime | None, pointer: str) -> None:
    # The days at the edges are left out, so that the year is the same in UTC.
    if moment is not None and not catalog.YEARS[0] < moment.year < catalog.YEARS[1]:
        raise Invalid(f"The year is outside {catalog.YEARS[0]} to {catalog.YEARS[1]}.", pointer=pointer)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment is not None else None


def _random() -> str:
    return "".join(secrets.choice(REFERENCE_ALPHABET) for _ in range(GENERATED_LENGTH))


def _code(row: Record) -> Code:
    values: dict[str, Any] = dict(row)
    del values["code_key"]
    return Code(**values)
