"""What a booking costs is fixed when its places are claimed, and can be told in its parts for ever."""

from typing import Any

import msgspec
import pytest

from holdfast import booking, catalog
from holdfast.booking import Asker, ClaimRequest, CodeRefused, CodeRequired, CodeSpec, CodeUnknown
from holdfast.booking.series_routes import Series, shows_of
from holdfast.engine import Engine
from holdfast.platform.errors import Invalid
from holdfast.platform.ids import ShowId
from tests.races import checker
from tests.races.crowd import ORGANIZER, open_show

pytestmark = pytest.mark.anyio

FLOOR = [
    {"name": "Floor", "kind": "standing", "capacity": 20},
    {"name": "Stalls", "kind": "seated", "rows": [{"label": "A", "seats": 10}]},
]
FEE = {"fee": 100, "fee_basis_points": 500, "tax_basis_points": 1900, "tax_included": False}
TIERS = [
    {"name": "Adult", "area": "Floor", "amount": 990, **FEE},
    {"name": "Child", "area": "Floor", "amount": 1190, "tax_basis_points": 1900},
    {"name": "Press", "area": "Floor", "amount": 500, "hidden": True},
    {"name": "Club", "area": "Stalls", "amount": 4000, "hidden": True},
]


async def a_priced_show(engine: Engine) -> ShowId:
    return await open_show(engine, areas=FLOOR, tiers=TIERS)


async def a_code(engine: Engine, show_id: ShowId, **spec: Any) -> booking.Code:
    async with engine.db.transaction() as tx:
        show = await catalog.show_by_id(tx, show_id)
        assert show is not None
        return await booking.make_code(tx, show, msgspec.convert({"code": "EARLY", **spec}, CodeSpec))


async def edit(engine: Engine, show_id: ShowId, **changes: Any) -> None:
    async with engine.db.transaction() as tx:
        wanted = msgspec.convert(changes, catalog.ShowEdit)
        await booking.edit_show(tx, engine.office, ORGANIZER, show_id, wanted, None)


async def claimed(engine: Engine, show_id: ShowId, **wish: Any) -> booking.Booking:
    found = await booking.claim(engine.office, show_id, ClaimRequest(**wish), Asker())
    return found.booking


async def parts(engine: Engine, found: booking.Booking) -> list[catalog.Price]:
    stored = await booking.booking_by_id(engine.db, found.show_id, found.booking_id)
    assert stored.amounts == found.amounts
    lines = await booking.breakdown_of(engine.db, stored)
    assert [line.price.amount for line in lines] == stored.amounts
    return [line.price for line in lines]


async def test_a_booking_costs_what_a_place_costs_in_all(engine: Engine) -> None:
    show = await a_priced_show(engine)
    made = await claimed(engine, show, quantity=3, area="Floor", tiers={"Adult": 2, "Child": 1})
    assert made.amounts == [1357, 1357, 1190]
    assert made.total == 3904
    assert await parts(engine, made) == [(990, 150, 217), (990, 150, 217), (1000, 0, 190)]


async def test_the_price_of_a_booking_outlives_every_edit_of_its_tier(engine: Engine) -> None:
    show = await a_priced_show(engine)
    first = await claimed(engine, show, quantity=1, area="Floor", tier="Adult")
    await edit(engine, show, name="Renamed")
    second = await claimed(engine, show, quantity=1, area="Floor", tier="Adult")
    await edit(engine, show, tiers=[{"id": 1, "amount": 2000, "fee": 0}])
    third = await claimed(engine, show, quantity=1, area="Floor", tier="Adult")
    await edit(engine, show, tiers=[{"id": 1, "tax_included": True}, {"id": 2, "fee": 10}])
    await edit(engine, show, tiers=[{"id": 1, "name": "Grown-up", "hidden": True}])
    fourth = await claimed(engine, show, quantity=1, area="Floor", tier="Child")
    assert [each.terms for each in (first, second, third, fourth)] == [1, 2, 3, 5]
    assert await parts(engine, first) == await parts(engine, second) == [(990, 150, 217)]
    assert await parts(engine, third) == [(2000, 100, 399)]
    assert await parts(engine, fourth) == [(1000, 8, 192)]


async def test_a_code_is_priced_and_told_for_ever(engine: Engine, database_url: str) -> None:
    show = await a_priced_show(engine)
    code = await a_code(engine, show, discount_basis_points=5000, tiers=[2])
    made = await claimed(
        engine, show, quantity=2, area="Floor", tiers={"Adult": 1, "Child": 1}, code=" ear-LY "
    )
    assert (made.amounts, made.code_id) == ([1357, 595], code.code_id)
    async with engine.db.transaction() as tx:
        await booking.withdraw_code(tx, show, code.code_id)
    await edit(engine, show, tiers=[{"id": 2, "amount": 1}])
    assert await parts(engine, made) == [(990, 150, 217), (500, 0, 95)]
    before = [line.before for line in await booking.breakdown_of(engine.db, made)]
    assert before == [1357, 1190]
    assert await checker.violations(database_url) == []


async def test_what_a_code_makes_free_is_confirmed_at_once(engine: Engine) -> None:
    show = await a_priced_show(engine)
    await a_code(engine, show, discount_basis_points=10_000)
    made = await claimed(engine, show, quantity=2, area="Floor", tier="Adult", code="EARLY", confirm=True)
    assert (made.status, made.total) == ("CONFIRMED", 0)
    assert await parts(engine, made) == [(0, 0, 0)] * 2


async def test_hidden_tiers_are_sold_to_who_has_the_code(engine: Engine) -> None:
    show = await a_priced_show(engine)
    await a_code(engine, show, reveals=[3, 4])
    with pytest.raises(Invalid, match="no such tier"):
        await claimed(engine, show, quantity=1, area="Floor", tier="Press")
    for wish in ({"seats": ["1"]}, {"best_available": 2}, {"quantity": 1, "area": "Stalls"}):
        with pytest.raises(CodeRequired):
            await claimed(engine, show, **wish)
    with pytest.raises(Invalid):
        await claimed(engine, show, best_available=1, tier="Club")
    press = await claimed(engine, show, quantity=1, area="Floor", tier="Press", code="EARLY")
    club = await claimed(engine, show, best_available=2, tier="Club", code="EARLY")
    named = await claimed(engine, show, seats=["9"], code="EARLY")
    assert (press.amounts, club.amounts, named.amounts) == ([500], [4000, 4000], [4000])
    await edit(engine, show, tiers=[{"id": 4, "hidden": False}])
    assert (await claimed(engine, show, seats=["10"])).amounts == [4000]


async def test_a_code_that_does_nothing_for_the_places_is_not_used_up(engine: Engine) -> None:
    show = await a_priced_show(engine)
    code = await a_code(engine, show, discount_amount=100, tiers=[2], uses_max=1)
    with pytest.raises(CodeRefused) as refused:
        await claimed(engine, show, quantity=1, area="Floor", tier="Adult", code="EARLY")
    assert refused.value.members == {"reason": "tiers"}
    assert (await booking.code_by_id(engine.db, show, code.code_id)).used == 0
    with pytest.raises(CodeUnknown):
        await claimed(engine, show, quantity=1, area="Floor", tier="Child", code="LATE")
    with pytest.raises(CodeUnknown):
        await claimed(engine, show, quantity=1, area="Floor", tier="Child", code="\0--")


async def test_a_retry_hears_of_its_booking_when_the_code_has_gone(engine: Engine) -> None:
    show = await a_priced_show(engine)
    code = await a_code(engine, show, discount_amount=100, uses_max=1)
    asker = Asker(b"k" * 16, b"one")
    wish = ClaimRequest(quantity=1, area="Floor", tier="Child", code="EARLY")
    first = await booking.claim(engine.office, show, wish, asker)
    async with engine.db.transaction() as tx:
        await booking.withdraw_code(tx, show, code.code_id)
    again = await booking.claim(engine.office, show, wish, asker)
    assert (again.booking.booking_id, again.replayed) == (first.booking.booking_id, True)


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({}, ""),
        ({"discount_amount": 1, "discount_basis_points": 1}, "/discount_amount"),
        ({"reveals": [3], "tiers": [1]}, "/tiers"),
        ({"discount_amount": 1, "tiers": [1, 9]}, "/tiers/1"),
        ({"discount_amount": 1, "tiers": [1, 1]}, "/tiers/1"),
        ({"reveals": [7]}, "/reveals/0"),
        ({"discount_amount": 1, "code": " - a-B "}, "/code"),
        (
            {"discount_amount": 1, "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-02T00:00:00Z"},
            "/ends_at",
        ),
        ({"discount_amount": 1, "ends_at": "0001-01-01T00:00:00+14:00"}, "/ends_at"),
    ],
)
async def test_codes_that_make_no_sense(engine: Engine, spec: dict[str, Any], pointer: str) -> None:
    show = await a_priced_show(engine)
    with pytest.raises(Invalid) as refused:
        await a_code(engine, show, **spec)
    assert refused.value.members["errors"][0]["pointer"] == pointer


async def test_codes_that_look_alike_are_one(engine: Engine) -> None:
    show = await a_priced_show(engine)
    await a_code(engine, show, code="Straße 5", discount_amount=1)
    for text in ("STRASSE5", "strasse-5", " Stra\u00dfe\u00a05"):
        with pytest.raises(booking.CodeTaken):
            await a_code(engine, show, code=text, discount_amount=1)
        assert (await booking.code_named(engine.db, show, text)).code == "Straße 5"
    await a_code(engine, show, code="Strasse 6", discount_amount=1)


async def test_what_was_booked_before_prices_had_parts_is_face_value(engine: Engine) -> None:
    show = await a_priced_show(engine)
    made = await claimed(engine, show, quantity=1, area="Floor", tier="Adult")
    await engine.db.execute("update bookings set terms = null")
    assert await parts(engine, made) == [(1357, 0, 0)]


async def test_a_series_carries_fees_taxes_and_hidden_tiers(engine: Engine) -> None:
    show = {
        "name": "Hamlet", "start_time": "2030-12-24T20:00:00Z", "areas": FLOOR, "tiers": TIERS,
    }  # fmt: skip
    repeat = {"template": "repeat", "show": show, "start_times": ["2030-12-25T20:00:00Z"]}
    trips = {
        "template": "trips",
        "name": "Bus",
        "departures": ["2030-12-25T20:00:00Z"],
        "amount": 990,
        "charges": FEE,
    }
    days = {
        "template": "appointments", "name": "Cut", "first": "2030-12-24", "last": "2030-12-24", "opens": "09:00",
        "closes": "10:00", "minutes": 60, "timezone": "UTC", "amount": 990, "charges": FEE,
    }  # fmt: skip
    await open_show(engine, total_seats=1)
    opened = []
    for series in (repeat, trips, days):
        (spec,) = shows_of(msgspec.convert(series, Series))
        async with engine.db.transaction() as tx:
            made, _ = await booking.open_show(tx, engine.office, ORGANIZER, spec)
        opened.append(await catalog.show_by_id(engine.db, made.show_id))
    assert [[(tier.price.amount, tier.hidden) for tier in each.tiers] for each in opened if each] == [
        [(1357, False), (1190, False), (500, True), (4000, True)],
        [(1357, False)],
        [(1357, False)],
    ]
