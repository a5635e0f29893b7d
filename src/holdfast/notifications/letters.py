"""What the letters say. Each function makes one from what is true of a booking; none of them asks anybody anything.

Every word that came from a person (the name of a show, of a buyer, an organizer's own words) is a value and never markup:
the HTML escapes it, and the plain text has no markup.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from holdfast import booking, facts
from holdfast.booking import Booking, View, Whereabouts
from holdfast.catalog import Show
from holdfast.notifications.rules import Rules, own_words
from holdfast.platform.languages import Language
from holdfast.tickets import Ticket

# More places than these are counted and not told one by one.
PLACES_TOLD_MAX = 20
# A name that is a name. Whoever books for a stranger's address could write anything there: no links, no sentences.
_NAME = re.compile(r"[^\W\d_]{1,40}\.?(?:[ '’-][^\W\d_]{1,40}\.?){0,5}")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a letter, in the order in which they stand there."""

    subject: str
    title: str
    paragraphs: list[str]
    footer: str
    organizer: str
    details: list[tuple[str, str]] = []
    places: list[tuple[str, str]] = []
    total: tuple[str, str] | None = None
    button: tuple[str, str] | None = None
    notes: list[str] = []


@dataclass(frozen=True, slots=True)
class Scene:
    """What the letters about a show have in common."""

    show: Show
    view: View
    where: Whereabouts
    rules: Rules
    language: Language


@dataclass(frozen=True, slots=True)
class Told:
    """What is true of a booking when its letter is written. `link` leads to it, and whoever has the link has the right."""

    scene: Scene
    booking: Booking
    link: str

    @property
    def show(self) -> Show:
        return self.scene.show

    @property
    def organizer(self) -> str:
        return self.scene.where.organizer

    @property
    def language(self) -> Language:
        return self.scene.language

    @property
    def starts(self) -> str:
        """The day and the time of the show, as people at its place say it."""
        return self.language.moment(self.show.start_time, self.show.timezone)


def for_holder(told: Told, ticket: Ticket, link: str) -> Told:
    """The same as whoever was given one of the tickets may know it: their place and name, and nothing of the buyer's."""
    sold, index = told.booking, ticket.number - 1
    own = msgspec.structs.replace(
        sold, name=ticket.holder, email=ticket.email, quantity=1, total=0,
        areas=[sold.areas[index]], seats=sold.seats[index : index + 1], tiers=[sold.tiers[index]], amounts=[0],
    )  # fmt: skip
    return Told(told.scene, own, link)


@dataclass(frozen=True, slots=True)
class Money:
    """What a letter about money says of it, in minor units; `reason` is a word for programs."""

    amount: int
    currency: str
    reason: str


def confirmation(told: Told) -> Letter:
    """The booking is confirmed, and here are the tickets."""
    said, places = told.language, told.booking.quantity
    enclosed = said.plural(
        "Your ticket is enclosed as a PDF. Show it at the entrance, on your phone or on paper.",
        "Your {n} tickets are enclosed as a PDF. Show them at the entrance, on your phone or on paper.",
        places,
    )
    return Letter(
        subject=said.text("Your tickets for {show}", show=told.show.name),
        title=said.text("See you at {show}", show=told.show.name),
        paragraphs=[
            _greeting(told),
            said.text("Your booking is confirmed.") + " " + enclosed,
            *own_words(told.scene.rules, "confirmation", _values(told)),
        ],
        details=_details(told),
        places=_places(told),
        total=_total(told),
        button=(said.text("See your tickets"), told.link),
        notes=[said.text("Whoever has this link or the PDF has the tickets, so keep them to yourself.")],
        **_frame(told),
    )


def reminder(told: Told) -> Letter:
    """The show is near."""
    said = told.language
    return Letter(
        subject=said.text("Soon: {show}", show=told.show.name),
        title=said.text("{show} is near", show=told.show.name),
        paragraphs=[
            _greeting(told),
            said.text("This is to remind you of your visit. Your tickets are enclosed once more."),
            *own_words(told.scene.rules, "reminder", _values(told)),
        ],
        details=_details(told),
        places=_places(told, priced=False),
        button=(said.text("See your tickets"), told.link),
        **_frame(told),
    )


def expired(told: Told) -> Letter:
    """A hold that somebody had begun to pay for ended."""
    said = told.language
    return Letter(
        subject=said.text("Your places for {show} were let go", show=told.show.name),
        title=said.text("Your booking was not completed"),
        paragraphs=[
            _greeting(told),
            said.text(
                "No payment reached us in time, so your places for {show} are free for others again.",
                show=told.show.name,
            ),
            said.text(
                "You need do nothing. Should money of yours arrive later, you get your places if they are still free,"
                " or your money back."
            ),
        ],
        details=_details(told),
        **_frame(told),
    )


def cancelled(told: Told) -> Letter:
    """The booking was called off, by its buyer or by the organizer."""
    said = told.language
    who = (
        said.text("Your booking was cancelled, as you asked.")
        if told.booking.reason == "by_buyer"
        else said.text("Your booking was cancelled by the organizer.")
    )
    return Letter(
        subject=said.text("Your booking for {show} is cancelled", show=told.show.name),
        title=said.text("Your booking is cancelled"),
        paragraphs=[_greeting(told), who + " " + said.text("Its tickets admit nobody any more.")],
        details=_details(told),
        **_frame(told),
    )


def show_moved(told: Told, before: datetime) -> Letter:
    """The show has another time."""
    said = told.language
    return Letter(
        subject=said.text("New time: {show}", show=told.show.name),
        title=said.text("{show} has a new time", show=told.show.name),
        paragraphs=[
            _greeting(told),
            said.text("The show that you have tickets for takes place at another time than planned."),
            said.text(
                "Your tickets stay good. If you cannot come, please write to the organizer, or see your booking."
            ),
        ],
        details=[
            (said.text("New time"), told.starts),
            (said.text("Before"), said.moment(before, told.show.timezone)),
            *_details(told)[1:],
        ],
        button=(said.text("See your booking"), told.link),
        notes=[said.text("The enclosed entry brings your calendar up to date.")],
        **_frame(told),
    )


def show_postponed(told: Told) -> Letter:
    """The show has no time yet."""
    said = told.language
    return Letter(
        subject=said.text("Postponed: {show}", show=told.show.name),
        title=said.text("{show} is postponed", show=told.show.name),
        paragraphs=[
            _greeting(told),
            said.text("The show that you have tickets for cannot take place as planned."),
            said.text("Please keep your tickets: they stay good. We write to you as soon as there is a new time."),
        ],
        details=[(said.text("Was planned for"), told.starts), *_details(told)[1:]],
        button=(said.text("See your booking"), told.link),
        **_frame(told),
    )  # fmt: skip


def show_cancelled(told: Told) -> Letter:
    """The show does not take place."""
    said = told.language
    paragraphs = [
        _greeting(told),
        said.text("We are sorry: the show that you have tickets for does not take place."),
    ]
    if told.booking.total:
        paragraphs.append(
            said.text(
                "Your money goes back the way it came. You need do nothing; another letter tells you of it."
            )
        )
    return Letter(
        subject=said.text("Cancelled: {show}", show=told.show.name),
        title=said.text("{show} is cancelled", show=told.show.name),
        paragraphs=paragraphs,
        details=[(said.text("Was planned for"), told.starts), *_details(told)[1:]],
        **_frame(told),
    )


def refund_wanted(told: Told, money: Money) -> Letter:
    """Money is on its way back."""
    said, amount = told.language, told.language.money(money.amount, money.currency)
    why = {
        "late": said.text("Your payment arrived after your places had gone to others, so there is no ticket for it."),
        "second_payment": said.text("You paid twice for the same booking. Your tickets stay good."),
        "show_cancelled": said.text("The show does not take place."),
    }.get(money.reason, said.text("Money that you paid goes back to you."))  # fmt: skip
    return Letter(
        subject=said.text("Your money for {show} comes back", show=told.show.name),
        title=said.text("{amount} comes back to you", amount=amount),
        paragraphs=[
            _greeting(told),
            why,
            said.text("We send {amount} back the way it came. This can take some days.", amount=amount),
        ],
        details=_details(told),
        **_frame(told),
    )


def refund_settled(told: Told, money: Money, numbers: Sequence[int] | None) -> Letter:
    """The money was sent back; `numbers` are the tickets that ended with it."""
    said, amount = told.language, told.language.money(money.amount, money.currency)
    paragraphs = [
        _greeting(told),
        said.text("Your money was sent back. Until your bank shows it, some days may pass."),
    ]
    if numbers:
        labels = ", ".join(booking.label_of(told.booking, number) for number in numbers)
        paragraphs.append(
            said.plural("This ticket admits nobody any more: {labels}.",
                        "These tickets admit nobody any more: {labels}.", len(numbers), labels=labels)
        )  # fmt: skip
    return Letter(
        subject=said.text("Refunded: {amount} for {show}", amount=amount, show=told.show.name),
        title=said.text("{amount} was sent back", amount=amount),
        paragraphs=paragraphs,
        details=_details(told),
        **_frame(told),
    )


def refund_failed(told: Told, money: Money) -> Letter:
    """The money could not be sent back, and somebody sees to it."""
    said, amount = told.language, told.language.money(money.amount, money.currency)
    return Letter(
        subject=said.text("Your refund for {show} is delayed", show=told.show.name),
        title=said.text("Your refund is delayed"),
        paragraphs=[
            _greeting(told),
            said.text("We could not send {amount} back the way it came.", amount=amount),
            said.text("The organizer knows of it and will write to you. You need do nothing."),
        ],
        details=_details(told),
        **_frame(told),
    )


def ticket_given(told: Told, number: int) -> Letter:
    """A ticket of the buyer's is somebody else's now."""
    said, label = told.language, booking.label_of(told.booking, number)
    return Letter(
        subject=said.text("You gave away a ticket for {show}", show=told.show.name),
        title=said.text("Ticket {label} has a new holder", label=label),
        paragraphs=[
            _greeting(told),
            said.text(
                "Ticket {label} of your booking was given to somebody else. The code that you had admits nobody any more.",
                label=label,
            ),
            said.text("If that was not you, please write to the organizer at once."),
        ],
        details=_details(told),
        button=(said.text("See your booking"), told.link),
        **_frame(told),
    )


def ticket_yours(told: Told) -> Letter:
    """For whoever was given a ticket: the right to it."""
    said = told.language
    return Letter(
        subject=said.text("Your ticket for {show}", show=told.show.name),
        title=said.text("You were given a ticket for {show}", show=told.show.name),
        paragraphs=[
            _greeting(told),
            said.text(
                "The ticket is enclosed as a PDF. By the link you see it, print it, or give it to somebody else."
            ),
        ],
        details=_details(told),
        places=_places(told),
        button=(said.text("See your ticket"), told.link),
        notes=[said.text("Whoever has this link or the PDF has the tickets, so keep them to yourself.")],
        **_frame(told),
    )


def ticket_void(told: Told, number: int) -> Letter:
    """For whoever was given a ticket that admits nobody any more."""
    said = told.language
    return Letter(
        subject=said.text("Your ticket for {show} is no longer good", show=told.show.name),
        title=said.text("Your ticket is no longer good"),
        paragraphs=[
            said.text("Hello,"),
            said.text(
                "Ticket {label}, which you were given, admits nobody any more. Whoever gave it to you can tell you why.",
                label=booking.label_of(told.booking, number),
            ),
        ],
        details=_details(told),
        **_frame(told),
    )


def for_staff(told: Told, kind: str, money: Money) -> Letter:
    """For the owners: money that a person has to see to. `kind` is that of the fact."""
    said, amount = told.language, told.language.money(money.amount, money.currency)
    title, what = {
        facts.PAYMENT_MISMATCHED: (
            said.text("A payment does not fit"),
            said.text("{amount} came for a booking that has another price. Nothing was confirmed: please decide.",
                      amount=amount),
        ),
        facts.PAYMENT_DISPUTED: (
            said.text("A payment is disputed"),
            said.text("The buyer's bank takes {amount} back. The tickets admit as before until you decide.", amount=amount),
        ),
        facts.REFUND_FAILED: (
            said.text("A refund failed"),
            said.text("{amount} could not be sent back. Please try again, or write to the buyer.", amount=amount),
        ),
    }[kind]  # fmt: skip
    return Letter(
        subject=said.text("{what}: booking {reference}", what=title, reference=told.booking.reference),
        title=title,
        paragraphs=[said.text("Hello,"), what],
        details=_details(told),
        notes=[said.text("This letter went to the owners of {organizer}.", organizer=told.organizer)],
        **_frame(told),
    )


def both_forms(letter: Letter, language: Language) -> tuple[str, str]:
    """The letter as plain text and as HTML."""
    values = {"letter": letter, "code": language.code}
    return _template("letter.txt").render(values), _template("letter.html").render(values)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        autoescape=select_autoescape(["html"]), loader=PackageLoader(__package__, "templates"),
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(name)


def _greeting(told: Told) -> str:
    name = told.booking.name or ""
    if _NAME.fullmatch(name):
        return told.language.text("Hello {name},", name=name)
    return told.language.text("Hello,")


def _details(told: Told) -> list[tuple[str, str]]:
    said = told.language
    found = [
        (said.text("When"), told.starts),
        (said.text("Where"), told.scene.where.venue),
        (said.text("Show"), told.show.name),
        (said.text("Booking"), told.booking.reference),
    ]
    return [(label, value) for label, value in found if value]


def _places(told: Told, *, priced: bool = True) -> list[tuple[str, str]]:
    sold, said = told.booking, told.language
    found = []
    for number in range(1, min(sold.quantity, PLACES_TOLD_MAX) + 1):
        place = booking.place_of(sold, told.scene.view, number)
        named = ", ".join(part for part in (place.area, place.seat, place.tier) if part)
        amount = sold.amounts[number - 1] if priced and sold.total else None
        found.append((named, "" if amount is None else said.money(amount, sold.currency)))
    if sold.quantity > PLACES_TOLD_MAX:
        left = sold.quantity - PLACES_TOLD_MAX
        found.append((said.plural("and {n} more place", "and {n} more places", left), ""))
    return found


def _total(told: Told) -> tuple[str, str] | None:
    sold, said = told.booking, told.language
    return (said.text("Total"), said.money(sold.total, sold.currency)) if sold.total else None


def _values(told: Told) -> dict[str, str]:
    return {
        "show": told.show.name,
        "starts": told.starts,
        "venue": told.scene.where.venue,
        "organizer": told.organizer,
        "reference": told.booking.reference,
    }


def _frame(told: Told) -> dict[str, Any]:
    return {
        "organizer": told.organizer,
        "footer": told.language.text(
            "{organizer} sent you this letter because of booking {reference}.",
            organizer=told.organizer,
            reference=told.booking.reference,
        ),
    }
