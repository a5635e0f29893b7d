"""Seats that are as good as those that are not to be had: as many, for the same price, and as near as can be.

They are proposed from what this process knows, without asking anybody, for in a rush nearly every claim is refused. A
proposal holds nothing: the next claim decides. Whoever comes too late at the same moment is proposed other seats, so
that the losers of one race do not run the next one against each other. Places for wheelchairs and companions' seats are
proposed to those alone who wanted such.
"""

from collections.abc import Mapping, Sequence

from holdfast.booking.view import View
from holdfast.catalog import Access, Show

# Larger parties ask for the best available, which looks at all of the house.
PARTY_MAX = 10
# If there is nothing left in the area, so many others of the same prices are looked at, those with most places first.
AREAS_MAX = 4

# The seats of a party by their area and by what they are kept for.
_Parties = Mapping[tuple[int, Access | None], list[int]]


def instead(view: View, show: Show, seats: Sequence[int], gone: Sequence[int]) -> list[int]:
    """Equal seats for a party that wanted `seats`, of which `gone` are taken; empty when there are none.

    `show` is the view's, with the prices of who asks. In an area where all of its seats are free the party keeps them.
    """
    if len(seats) > PARTY_MAX:
        return []
    parties, tried = _parties(view, seats), None
    for afresh in (False, True):
        taken = view.proposed(afresh=afresh)
        _mark(taken, gone)
        if taken == tried:
            break
        found = _equal(view, show, parties, frozenset(gone), taken)
        _mark(taken, found)
        if found:
            return found
        tried = taken
    return []


def moved(view: View, seats: Sequence[int]) -> list[int]:
    """Seats for a party whose choice would leave somebody alone: near them, in the same areas, and leaving nobody alone."""
    if len(seats) > PARTY_MAX:
        return []
    found: list[int] = []
    for (_, kind), party in _parties(view, seats).items():
        taken = view.open_to_all() if kind is None else _kept_for(view, kind)
        near = view.seating.near(party, taken, careful=True)
        if not near:
            return []
        found += near
    return found


def _mark(taken: bytearray, seats: Sequence[int]) -> None:
    for seat in seats:
        taken[seat >> 3] |= 1 << (seat & 7)


def _parties(view: View, seats: Sequence[int]) -> _Parties:
    parties: dict[tuple[int, Access | None], list[int]] = {}
    for seat in seats:
        parties.setdefault((view.plan.area_of(seat).number, view.plan.access.get(seat)), []).append(seat)
    return parties


def _kept_for(view: View, kind: Access) -> bytearray:
    """A bitmap in which the free seats of this kind alone are free."""
    taken = bytearray(b"\xff" * len(view.taken))
    for seat, each in view.plan.access.items():
        if each == kind and not view.is_taken(seat):
            taken[seat >> 3] &= ~(1 << (seat & 7))
    return taken


def _equal(view: View, show: Show, parties: _Parties, gone: frozenset[int], taken: bytearray) -> list[int]:
    found = [seat for party in parties.values() if gone.isdisjoint(party) for seat in party]
    for (area, kind), party in parties.items():
        if gone.isdisjoint(party):
            continue
        bits = taken if kind is None else _kept_for(view, kind)
        near: Sequence[int] = ()
        if view.left[area - 1] >= len(party):
            near = view.seating.near(party, bits, careful=show.orphans == "refuse")
        near = near or _in_another_area(view, show, area, party, bits)
        if not near or not set(found).isdisjoint(near):
            return []
        found += near
    return found


def _in_another_area(
    view: View, show: Show, area: int, party: Sequence[int], taken: bytearray
) -> Sequence[int]:
    prices = _prices(show, area)
    others = [
        other.number
        for other in view.plan.areas
        if other.kind == "seated" and other.number != area and view.left[other.number - 1] >= len(party)
    ]
    others.sort(key=lambda other: -view.left[other - 1])
    looked = 0
    for other in others:
        if _prices(show, other) != prices:
            continue
        if near := view.seating.near(party, taken, area=other, careful=show.orphans == "refuse"):
            return near
        looked += 1
        if looked == AREAS_MAX:
            break
    return ()


def _prices(show: Show, area: int) -> dict[str, int]:
    """What is asked for a place of the area, by the names of its tiers."""
    return {tier.name: tier.due for tier in show.tiers if tier.area == area and not tier.hidden}
