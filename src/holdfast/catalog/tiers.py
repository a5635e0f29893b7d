"""Tiers: the prices of an area, as organizers give them, as they were, and as they are written."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import msgspec
from msgspec import Meta

from holdfast.catalog.names import printable
from holdfast.catalog.plan import AreaName, AreaRecord, Plan
from holdfast.catalog.prices import Amount, BasisPoints, Charges, Discount, Price, price
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Invalid
from holdfast.platform.ids import ShowId

sql = load_queries(__file__)

TIERS_MAX = 1000

Name = Annotated[str, Meta(min_length=1, max_length=255)]


class TierSpec(Charges, forbid_unknown_fields=True, frozen=True):
    """A price for places of an area, by the area's name. `amount` is the face value, on which the charges come.

    A `hidden` tier is shown and sold only to who has a code that reveals it.
    """

    name: Name
    area: AreaName
    amount: Amount
    hidden: bool = False


class TierEdit(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """With `id`: what changes of that tier. Without: a new tier, which needs name, area and amount.

    What was booked keeps its price, and what is held keeps it, too.
    """

    id: Annotated[int, Meta(ge=1, le=TIERS_MAX)] | None = None
    name: Name | None = None
    area: AreaName | None = None
    amount: Amount | None = None
    fee: Amount | None = None
    fee_basis_points: BasisPoints | None = None
    tax_basis_points: BasisPoints | None = None
    tax_included: bool | None = None
    hidden: bool | None = None


_NONE = Charges()


@dataclass(frozen=True)
class Tier:
    """A price for places of an area; `tier` counts from 1 within its show, `amount` is the face value.

    `discount`: what the code takes off with which somebody looks at it.
    """

    tier: int
    area: int
    name: str
    amount: int
    charges: Charges = _NONE
    hidden: bool = False
    discount: Discount | None = None

    @cached_property
    def price(self) -> Price:
        """What a buyer pays for a place."""
        return price(self.amount, self.charges, self.discount)

    @cached_property
    def due(self) -> int:
        """The same in one sum: what each claim asks for."""
        return self.price.amount

    @property
    def figures(self) -> int | dict[str, int]:
        """What an entry of the audit says of it: the face value, and beside it what else there is."""
        charges = msgspec.structs.asdict(self.charges)
        more = {name: value for name, value in charges.items() if value != getattr(_NONE, name)}
        if self.hidden:
            more["hidden"] = True
        return {"amount": self.amount, **more} if more else self.amount


def tier_of(
    tier: int, area: int, name: str, amount: int, fee: int, fee_basis_points: int, tax_basis_points: int,
    tax_included: bool, hidden: bool,
) -> Tier:  # fmt: skip
    """A tier from its columns, in the order in which the queries have them."""
    charges = Charges(
        fee=fee, fee_basis_points=fee_basis_points, tax_basis_points=tax_basis_points, tax_included=tax_included
    )  # fmt: skip
    return Tier(tier, area, name, amount, charges, hidden)


async def tiers_at(db: Database | Transaction, show_id: ShowId, version: int) -> dict[int, Tier]:
    """The tiers of a show by number, each with the face value and the charges that it had at this version."""
    return {row["tier"]: tier_of(*row) for row in await db.rows(sql.tiers_at, show_id, version)}


def new_tiers(specs: Sequence[TierSpec], plan: Plan) -> tuple[Tier, ...]:
    """The tiers of a new show. Raises Invalid."""
    tiers: list[Tier] = []
    for i, spec in enumerate(specs):
        area = plan.area(spec.area)
        if area is None:
            raise Invalid("The show has no area of this name.", pointer=f"/tiers/{i}/area")
        name = printable(spec.name, f"/tiers/{i}/name")
        if any(t.area == area.number and t.name == name for t in tiers):
            raise Invalid("This area has a tier of this name already.", pointer=f"/tiers/{i}/name")
        charges = Charges(**{each: getattr(spec, each) for each in Charges.__struct_fields__})
        tiers.append(Tier(i + 1, area.number, name, spec.amount, charges, spec.hidden))
    return tuple(tiers)


def edited_tiers(
    before: Sequence[Tier], areas: Mapping[int, AreaRecord], edits: Sequence[TierEdit]
) -> tuple[Tier, ...]:
    """All tiers as they are to be; new ones name their area as the edit leaves it. Raises Invalid."""
    numbers = {name: number for number, name, _, _ in areas.values()}
    tiers = {tier.tier: tier for tier in before}
    edited: dict[int, int] = {}
    for i, edit in enumerate(edits):
        at = f"/tiers/{i}"
        name = printable(edit.name, f"{at}/name") if edit.name is not None else None
        if edit.id is None:
            area = numbers.get(edit.area) if edit.area is not None else None
            if area is None or name is None or edit.amount is None:
                raise Invalid("A new tier needs a name, an area of the show and an amount.", pointer=at)
            if len(tiers) >= TIERS_MAX:
                raise Invalid(f"A show has at most {TIERS_MAX} tiers.", pointer=at)
            old = Tier(max(tiers, default=0) + 1, area, name, edit.amount)
        else:
            known = tiers.get(edit.id)
            if known is None:
                raise Invalid("The show has no such tier.", pointer=f"{at}/id")
            if edit.id in edited:
                raise Invalid("This tier is edited twice.", pointer=f"{at}/id")
            if edit.area is not None:
                raise Invalid("A tier stays with its area.", pointer=f"{at}/area")
            old = known
        tiers[old.tier] = _edited(old, name, edit)
        edited[old.tier] = i
    counted = Counter((tier.area, tier.name) for tier in tiers.values())
    for number, i in edited.items():
        if counted[tiers[number].area, tiers[number].name] > 1:
            raise Invalid("This area has a tier of this name already.", pointer=f"/tiers/{i}/name")
    return tuple(tiers[number] for number in sorted(tiers))


def _edited(old: Tier, name: str | None, edit: TierEdit) -> Tier:
    said = {each: value for each in Charges.__struct_fields__ if (value := getattr(edit, each)) is not None}
    return Tier(
        old.tier, old.area, name or old.name, old.amount if edit.amount is None else edit.amount,
        msgspec.structs.replace(old.charges, **said), old.hidden if edit.hidden is None else edit.hidden,
    )  # fmt: skip


async def insert_tiers(tx: Transaction, show_id: ShowId, tiers: Sequence[Tier]) -> None:
    """Writes new tiers."""
    if tiers:
        await tx.execute(
            sql.insert_tiers, show_id, [t.tier for t in tiers], [t.area for t in tiers], [t.name for t in tiers],
            *_terms(tiers), [t.hidden for t in tiers],
        )  # fmt: skip


async def write_tiers(
    tx: Transaction, show_id: ShowId, version: int, before: Sequence[Tier], after: Sequence[Tier]
) -> None:
    """Writes an edit of tiers, and keeps what they cost up to this version of the show, for what was sold by it."""
    old = {tier.tier: tier for tier in before}
    changed = [tier for tier in after if tier.tier in old and tier != old[tier.tier]]
    renamed = [tier.tier for tier in changed if tier.name != old[tier.tier].name]
    if renamed:
        await tx.execute(sql.free_tier_names, show_id, renamed)
    repriced = [
        old[tier.tier]
        for tier in changed
        if (tier.amount, tier.charges) != (old[tier.tier].amount, old[tier.tier].charges)
    ]
    if repriced:
        await tx.execute(sql.keep_terms, show_id, version, [t.tier for t in repriced], *_terms(repriced))
    if changed:
        await tx.execute(
            sql.set_tiers, show_id, [t.tier for t in changed], [t.name for t in changed], *_terms(changed),
            [t.hidden for t in changed],
        )  # fmt: skip
    await insert_tiers(tx, show_id, [tier for tier in after if tier.tier not in old])


def _terms(tiers: Iterable[Tier]) -> Iterable[list[int]]:
    """The columns of what tiers cost."""
    rows = [
        (t.amount, t.charges.fee, t.charges.fee_basis_points, t.charges.tax_basis_points, t.charges.tax_included)
        for t in tiers
    ]  # fmt: skip
    return map(list, zip(*rows, strict=True))
