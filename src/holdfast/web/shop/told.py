"""Refusals in words for buyers: what happened, and the next step. The API's titles are for developers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The code of a refusal -> what people are told, and what they can do now. English is the source; templates translate.
TOLD: Mapping[str, tuple[str, str]] = {
    "sold_out": ("There are not enough places left.", "Try fewer places, or another price."),
    "not_together": (
        "There are enough places, but not side by side.",
        "You can take them apart, or choose fewer.",
    ),
    "seats_taken": ("Somebody was a moment faster with some of these seats.", "Please choose others."),
    "not_on_sale": ("This show is not on sale now.", "The page of the show says when the sale begins."),
    "orphan_seat": (
        "This choice would leave a single seat alone, which nobody could use.",
        "Please move by one seat, or take the single seat as well.",
    ),
    "unknown_seat": ("This show has no such seat.", "Please choose again."),
    "nothing_chosen": ("No seat is chosen.", "Tick the seats that you would like to have."),
    "limit_reached": (
        "You have as many places of this show as one person may have.",
        "The letters of your bookings say which.",
    ),
    "too_many_places": ("One booking may not have so many places of this show.", "Take fewer places."),
    "hold_limit": ("These places cannot be held any longer.", "Please go on now, or choose again later."),
    "hold_expired": (
        "Your time was over, and the places went back on sale.",
        "Try the same places again: they may still be free.",
    ),
    "booking_ended": ("This booking has ended.", "Choose again if you still would like to come."),
    "booking_not_found": (
        "We do not find this booking here.",
        "Open the link in your letter, or have a new one sent.",
    ),
    "show_not_found": ("There is no such show.", "See what else is on."),
    "ticket_not_found": ("We do not find this ticket here.", "Open the link in your letter."),
    "ticket_void": ("This ticket does not admit anybody.", "Look at your booking to see why."),
    "not_sold_yet": ("There are no tickets yet.", "They come once the booking is confirmed."),
    "no_address": ("This booking has no e-mail address.", "Print your tickets here instead."),
    "code_unknown": ("We do not know this code.", "Check its letters, or go on without it."),
    "code_refused": (
        "This code cannot be used for this now.",
        "Go on without it, or ask who gave it to you.",
    ),
    "code_required": ("This price needs a promotion code.", "Enter the code, or choose another price."),
    "rate_limited": ("That was very often in a short time.", "Please wait a moment and try again."),
    "busy": ("Very many people are here just now.", "Nothing is lost. Please try again in a few seconds."),
    "still_running": ("This is being done already.", "Please look again in a few seconds."),
    "still_queued": ("Your booking still waits for its turn.", "This page looks again by itself."),
    "challenge_needed": (
        "Very many people want places of this show, so browsers have to work for theirs.",
        "Without a script this page cannot do that for you. Please allow scripts and go on by the map; or ask the organizer for the box office.",
    ),
    "provider_unavailable": (
        "The payment service does not answer just now.",
        "Your places are still held. Try again in a moment.",
    ),
    "provider_rejected": (
        "The payment service does not take this payment.",
        "Please write to the organizer.",
    ),
    "payments_off": ("Nothing can be paid online here.", "Please ask the organizer how to pay."),
    "payment_in_question": (
        "A payment of yours is being looked into, because its amount is another than it should be.",
        "Please pay nothing more. We write to you.",
    ),
    "too_many_attempts": (
        "This booking was tried to be paid very often.",
        "Let the places go and choose them again.",
    ),
    "payment_required": ("This booking has a price.", "Please pay for it."),
    "already_paid": ("This booking is paid.", "There is nothing left to do."),
    "nothing_to_pay": ("This booking costs nothing.", "Please confirm it."),
    "details_fixed": (
        "Name and address cannot be changed while a payment is under way.",
        "Go on to pay, or wait until the payment has ended.",
    ),
    "not_cancellable": ("This booking can only be cancelled by the organizer.", "Please write to them."),
    "not_transferable": ("This ticket cannot be given to somebody else.", "Please ask the organizer."),
    "cross_site": ("This form came from another site.", "Open the page here and send it again."),
    "not_found": ("There is nothing here.", "See what is on."),
}
ELSE = ("Something went wrong on our side.", "You were charged nothing for it. Please try again in a moment.")
INVALID = ("Something in the form needs another look.", "Please check what you entered.")


@dataclass(frozen=True, slots=True)
class Told:
    """A refusal for people. `fields` are the names of form fields that are wrong; `members` what else the refusal says."""

    code: str
    what: str
    then: str
    fields: tuple[str, ...]
    members: Mapping[str, Any]
    request_id: str


def told(problem: Mapping[str, Any], request_id: str = "") -> Told:
    """What a problem of the API means to a buyer."""
    code = str(problem.get("code", ""))
    what, then = TOLD.get(code, INVALID if problem.get("status") == 400 else ELSE)
    wrong = tuple(str(each.get("pointer", "")).rpartition("/")[2] for each in problem.get("errors", ()))
    return Told(code, what, then, wrong, problem, str(problem.get("request_id", request_id)))
