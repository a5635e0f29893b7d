"""What people are told of what happened: letters about bookings, tickets, money and shows, and text messages.

Owns letter_rules, notices and reminded, and alone writes them. Always true: nobody who sells waits for a letter; of each
kind a booking gets one for each thing that happened, however often the fact comes and wherever a worker dies; no word of
an organizer or a buyer is markup. Follows facts and announces none.
"""

from functools import partial

from holdfast import facts
from holdfast.booking import Office
from holdfast.notifications.enclosing import makers
from holdfast.notifications.rounds import ROUND, called_off, forget_notices, go_round, moved, remind_due
from holdfast.notifications.rules import NAMES, OwnTexts, Rules, rules_of, set_rules
from holdfast.notifications.sms import Gateway, GatewayDown, HttpGateway, Texter, gateway_of
from holdfast.notifications.telling import Rights, Teller
from holdfast.platform.jobs import Handler
from holdfast.platform.outbox import Followers

__all__ = [
    "NAMES",
    "ROUND",
    "Gateway",
    "GatewayDown",
    "HttpGateway",
    "OwnTexts",
    "Rights",
    "Rules",
    "Teller",
    "Texter",
    "follow",
    "forget_notices",
    "gateway_of",
    "go_round",
    "makers",
    "remind_due",
    "rules_of",
    "set_rules",
]


def follow(followers: Followers, office: Office, rights: Rights) -> Teller:
    """Has letters written about facts; the Teller handles the jobs that follow from them, too."""
    teller = Teller(office, rights)
    handlers: dict[str, Handler] = {
        facts.BOOKING_CONFIRMED: teller.confirmed,
        facts.BOOKING_CANCELLED: teller.cancelled,
        facts.BOOKING_EXPIRED: teller.expired,
        facts.REFUND_WANTED: teller.refund,
        facts.REFUND_SETTLED: teller.refund,
        facts.REFUND_FAILED: teller.refund,
        facts.TICKET_TRANSFERRED: teller.given,
        facts.TICKET_VOIDED: teller.voided,
        facts.SHOW_MOVED: partial(moved, office.settings),
        facts.SHOW_CANCELLED: called_off,
    }
    for kind, handler in handlers.items():
        followers.follow(kind, "letters", handler)
    for kind in (facts.PAYMENT_MISMATCHED, facts.PAYMENT_DISPUTED, facts.REFUND_FAILED):
        followers.follow(kind, "alarms", teller.alarmed)
    return teller
