"""What every provider's adapter does, whatever the provider: one suite over all of them, on stubs that speak their wire format."""

import asyncio
import datetime as dt
from collections.abc import Callable

import pytest

from holdfast.payments.provider import BadSignature, Listed, Notice, ProviderRefused, Seen, SeenRefund, Wish
from holdfast.platform.ids import new_id
from tests.providers.conftest import Side, an_attempt

pytestmark = pytest.mark.anyio
WishOf = Callable[..., Wish]


async def notices(side: Side) -> list[Notice]:
    return [side.provider.read(headers, body) for headers, body in await side.sent()]


async def test_an_attempt_is_opened_once_however_often_it_is_asked_for(side: Side) -> None:
    attempt = an_attempt()
    first, second = await side.provider.open(attempt), await side.provider.open(attempt)
    assert first == second
    other = await side.provider.open(an_attempt())
    assert other.ref != first.ref
    assert first.url.startswith("http")
    assert (first.method == "POST") == bool(first.fields)


async def test_calls_at_the_same_time_open_one_attempt(side: Side) -> None:
    attempt = an_attempt()
    opened = await asyncio.gather(*(side.provider.open(attempt) for _ in range(4)))
    assert len({each.ref for each in opened}) == 1


async def test_what_is_open_says_whose_it_is_and_how_much(side: Side) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    assert await side.provider.look(opened.ref) == Seen(
        ref=opened.ref,
        state="open",
        amount=4500,
        currency="EUR",
        payment_id=attempt.payment_id,
        show_id=attempt.show_id,
    )


async def test_money_is_seen_by_asking_and_by_webhook(side: Side) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.pay(opened)
    seen = await side.provider.look(opened.ref)
    assert (seen.state, seen.amount, seen.currency) == ("succeeded", 4500, "EUR")
    assert (seen.payment_id, seen.show_id) == (attempt.payment_id, attempt.show_id)
    assert seen.charge is not None and not seen.disputed
    told = [notice for notice in await notices(side) if notice.kind == "payment"]
    told = [notice for notice in told if isinstance(notice.seen, Seen) and notice.seen.state == "succeeded"]
    assert told
    for notice in told:
        assert (notice.payment_id, notice.show_id) == (attempt.payment_id, attempt.show_id)
        assert notice.seen == seen
    ids = [notice.event_id for notice in await notices(side)]
    assert len(set(ids)) == len(ids)


async def test_a_declined_try_can_be_followed_by_money(side: Side) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.decline(opened)
    seen = await side.provider.look(opened.ref)
    assert (seen.state, seen.reason) == ("declined", "insufficient_funds")
    [told] = [notice for notice in await notices(side) if notice.kind == "payment"]
    assert isinstance(told.seen, Seen) and told.seen.state == "declined"
    assert (told.payment_id, told.show_id) == (attempt.payment_id, attempt.show_id)
    await side.pay(opened)
    assert (await side.provider.look(opened.ref)).state == "succeeded"


async def test_what_is_closed_before_money_came_stays_closed(side: Side) -> None:
    opened = await side.provider.open(an_attempt())
    assert (await side.provider.close(opened.ref)).state == "closed"
    assert (await side.provider.close(opened.ref)).state == "closed"
    assert (await side.provider.look(opened.ref)).state == "closed"


async def test_what_was_declined_can_be_closed(side: Side) -> None:
    opened = await side.provider.open(an_attempt())
    await side.decline(opened)
    assert (await side.provider.close(opened.ref)).state == "closed"


async def test_closing_comes_too_late_for_money_that_is_there(side: Side) -> None:
    opened = await side.provider.open(an_attempt())
    await side.pay(opened)
    seen = await side.provider.close(opened.ref)
    assert (seen.state, seen.amount) == ("succeeded", 4500)
    assert seen.charge is not None


async def test_a_refund_is_made_once_however_often_it_is_asked_for(side: Side, wish_of: WishOf) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.pay(opened)
    wish = wish_of(attempt, await side.provider.look(opened.ref))
    first, second = await side.provider.refund(wish), await side.provider.refund(wish)
    assert first == second
    assert (first.state, first.amount, first.currency) == ("settled", 4500, "EUR")
    assert first.refund_id == wish.refund_id
    assert await side.provider.look_refund(wish.refund_id, first.ref) == first
    told = [notice for notice in await notices(side) if notice.kind == "refund"]
    assert told
    for notice in told:
        assert (notice.refund_id, notice.payment_id, notice.show_id) == (
            wish.refund_id,
            attempt.payment_id,
            attempt.show_id,
        )
        assert isinstance(notice.seen, SeenRefund) and notice.seen.ref == first.ref
    assert (await side.provider.look(opened.ref)).state == "succeeded"


async def test_parts_go_back_until_all_is_back_and_no_further(side: Side, wish_of: WishOf) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.pay(opened)
    seen = await side.provider.look(opened.ref)
    refs = {(await side.provider.refund(wish_of(attempt, seen, amount))).ref for amount in (1000, 1500)}
    with pytest.raises(ProviderRefused):
        await side.provider.refund(wish_of(attempt, seen, 2001))
    refs.add((await side.provider.refund(wish_of(attempt, seen, 2000))).ref)
    assert len(refs) == 3


async def test_a_refused_refund_is_refused_for_good(side: Side, wish_of: WishOf) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.refunds_become(opened, "refused")
    await side.pay(opened)
    with pytest.raises(ProviderRefused):
        await side.provider.refund(wish_of(attempt, await side.provider.look(opened.ref)))


async def test_a_refund_that_takes_its_time_settles(side: Side, wish_of: WishOf) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.refunds_become(opened, "pending")
    await side.pay(opened)
    wish = wish_of(attempt, await side.provider.look(opened.ref))
    pending = await side.provider.refund(wish)
    assert pending.state == "pending"
    assert (await side.provider.refund(wish)).ref == pending.ref
    await side.end_refund(pending.ref, "settled")
    assert (await side.provider.look_refund(wish.refund_id, pending.ref)).state == "settled"
    told = [notice.seen for notice in await notices(side) if notice.kind == "refund"]
    assert isinstance(told[-1], SeenRefund) and told[-1].state == "settled"


async def test_a_refund_that_failed_has_failed_however_often_it_is_asked_for(
    side: Side, wish_of: WishOf
) -> None:
    """Whoever lost the answer asks again, and must not send money anew that is counted as failed meanwhile."""
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.refunds_become(opened, "pending")
    await side.pay(opened)
    wish = wish_of(attempt, await side.provider.look(opened.ref))
    failed = await side.provider.refund(wish)
    await side.end_refund(failed.ref, "failed")
    seen = await side.provider.look_refund(wish.refund_id, failed.ref)
    assert seen.state == "failed" and seen.reason is not None
    told = [notice for notice in await notices(side) if notice.kind == "refund"]
    assert isinstance(told[-1].seen, SeenRefund) and told[-1].seen.state == "failed"
    assert told[-1].refund_id == wish.refund_id
    await side.refunds_become(opened, "settled")
    again = await side.provider.refund(wish)
    assert (again.ref, again.state) == (failed.ref, "failed")
    anew = await side.provider.refund(wish_of(attempt, await side.provider.look(opened.ref)))
    assert anew.ref != failed.ref and anew.state == "settled"


async def test_a_dispute_is_told(side: Side) -> None:
    attempt = an_attempt()
    opened = await side.provider.open(attempt)
    await side.pay(opened)
    charge = (await side.provider.look(opened.ref)).charge
    await side.dispute(opened)
    [told] = [notice for notice in await notices(side) if notice.kind == "dispute"]
    assert isinstance(told.seen, Seen) and told.seen.disputed and told.seen.charge == charge
    expected = attempt.show_id if side.dispute_names_show else None
    assert told.show_id == expected


async def listed(side: Side) -> list[Listed]:
    now = dt.datetime.now(dt.UTC)
    span = (now - dt.timedelta(hours=1), now + dt.timedelta(seconds=2))
    return [entry async for entry in side.provider.listed(*span)]


async def test_the_books_list_payments_and_refunds(side: Side, wish_of: WishOf) -> None:
    paid, unpaid = an_attempt(), an_attempt()
    opened, left = await side.provider.open(paid), await side.provider.open(unpaid)
    await side.pay(opened)
    wish = wish_of(paid, await side.provider.look(opened.ref), 1000)
    made = await side.provider.refund(wish)
    entries = {entry.ref: entry for entry in await listed(side)}
    assert set(entries) == {opened.ref, left.ref, made.ref}
    told = [
        (entry.kind, entry.id, entry.show_id, entry.amount, entry.currency, entry.state)
        for entry in (entries[opened.ref], entries[left.ref], entries[made.ref])
    ]
    assert told == [
        ("payment", paid.payment_id, paid.show_id, 4500, "EUR", "succeeded"),
        ("payment", unpaid.payment_id, unpaid.show_id, 4500, "EUR", "open"),
        ("refund", wish.refund_id, paid.show_id, 1000, "EUR", "settled"),
    ]
    before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    assert [entry async for entry in side.provider.listed(before, before + dt.timedelta(hours=1))] == []


async def test_the_books_have_more_than_one_page(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sandbox_books", "stripe", "razorpay"):
        monkeypatch.setattr(f"holdfast.payments.providers.{module}.PAGE", 2)
    refs = {(await side.provider.open(an_attempt())).ref for _ in range(5)}
    found = [entry.ref for entry in await listed(side)]
    assert len(found) == 5 and set(found) == refs


async def test_a_webhook_with_any_bit_flipped_is_refused(side: Side) -> None:
    opened = await side.provider.open(an_attempt())
    await side.pay(opened)
    headers, body = (await side.sent())[0]
    side.provider.read(headers, body)
    for position in range(0, len(body), 7):
        changed = bytearray(body)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(BadSignature):
            side.provider.read(headers, bytes(changed))
    for name in [name for name in headers if "signature" in name]:
        with pytest.raises(BadSignature):
            side.provider.read({**headers, name: headers[name][:-3] + "x0="}, body)
        with pytest.raises(BadSignature):
            side.provider.read({**headers, name: "nonsense"}, body)
        with pytest.raises(BadSignature):
            side.provider.read({key: value for key, value in headers.items() if key != name}, body)
    with pytest.raises(BadSignature):
        side.provider.read(headers, b"\xff\xfe")


async def test_a_webhook_under_another_secret_is_refused(side: Side) -> None:
    await side.pay(await side.provider.open(an_attempt()))
    with pytest.raises(BadSignature):
        side.provider.read(*await side.forged())


async def test_a_webhook_signed_long_ago_is_refused(side: Side) -> None:
    await side.pay(await side.provider.open(an_attempt()))
    old = await side.old()
    if old is None:
        pytest.skip("signs no time: what is told again is told by the event's id")
    with pytest.raises(BadSignature):
        side.provider.read(*old)


async def test_an_event_of_another_kind_is_other(side: Side) -> None:
    notice = side.provider.read(*await side.unknown())
    assert notice.kind == "other" and notice.seen is None and notice.event_id


async def test_what_was_never_there_is_refused(side: Side, wish_of: WishOf) -> None:
    with pytest.raises(ProviderRefused):
        await side.provider.look("cs_never")
    with pytest.raises(ProviderRefused):
        await side.provider.close("cs_never")
    with pytest.raises(ProviderRefused):
        await side.provider.look_refund(new_id(), "re_never")
