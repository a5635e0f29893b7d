"""What templates are told of a show besides what the API says: in words, in moments, and for search engines."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from holdfast.platform import clock
from holdfast.platform.money import MINOR_DIGITS_NOT_TWO

SCHEMA = "https://schema.org"
# Fewer than one in so many places is few.
FEW = 10
_STATES = {"cancelled": "EventCancelled", "postponed": "EventPostponed"}


def moment_of(text: str | None) -> datetime | None:
    """A time of the API."""
    return datetime.fromisoformat(text) if text else None


def starts_of(show: dict[str, Any]) -> datetime:
    """When the show starts, on the clock of its place."""
    return datetime.fromisoformat(show["start_time"]).astimezone(ZoneInfo(show["timezone"]))


def card(show: dict[str, Any]) -> dict[str, Any]:
    """A show as a list shows it: `sale` is `sale_of`, `least` the lowest price, `several` whether there is another."""
    amounts = {tier["amount"] for tier in show["tiers"]}
    return {
        **show,
        "starts": starts_of(show),
        "opens": moment_of(show["sale_opens_at"]),
        "sale": sale_of(show),
        "least": min(amounts, default=0),
        "several": len(amounts) > 1,
        "few": show["available_seats"] * FEW < show["total_seats"],
    }


def sale_of(show: dict[str, Any]) -> str:
    """`cancelled`, `postponed`, `off` (not sold now), `soon` (its sale has not begun), `over`, `sold_out` or `on`."""
    now, opens, closes = clock.now(), moment_of(show["sale_opens_at"]), moment_of(show["sale_closes_at"])
    status = show["status"]
    if status in _STATES:
        return str(status)
    if status not in ("on_sale", "scheduled"):
        return "off"
    if opens is not None and opens > now:
        return "soon"
    if status == "scheduled" and opens is None:
        return "off"
    if closes is not None and closes <= now:
        return "over"
    return "sold_out" if show["available_seats"] == 0 else "on"


def described(show: dict[str, Any], tiers: list[dict[str, Any]], address: str) -> dict[str, Any]:
    """A show as its page shows it. `tiers` are what the visitor may buy, by their code if they have one."""
    here = f"{address}/shows/{show['id']}"
    starts, opens = starts_of(show), moment_of(show["sale_opens_at"])
    offers = _offers(show, tiers)
    prices = [offer["amount"] for offer in offers]
    sale = sale_of(show)
    return {
        "show": show,
        "starts": starts,
        "opens": opens,
        "doors": _local(show, "doors_at"),
        "moved_from": _local(show, "previous_start_time"),
        "address_lines": address_of(show["venue"]) if show["venue"] else [],
        "opens_in": round((opens - clock.now()).total_seconds()) if opens and sale == "soon" else 0,
        "sale": sale,
        "offers": offers,
        "least": min(prices, default=0),
        "most": max(prices, default=0),
        "seated": any(area["kind"] == "seated" for area in show["areas"]),
        "quantities": range(1, min(10, show["max_places_per_booking"]) + 1),
        "url": here,
        "picture": f"/v1/pictures/{show['picture_id']}" if show["picture_id"] else None,
        "event": event(show, offers, starts, here, address),
    }


def address_of(venue: dict[str, Any]) -> list[str]:
    """The lines of a venue's address, with the city where they do not name it."""
    lines = [line.strip() for line in venue["address"].splitlines() if line.strip()]
    return lines if venue["city"] in venue["address"] else [*lines, venue["city"]]


def _local(show: dict[str, Any], name: str) -> datetime | None:
    moment = moment_of(show[name])
    return moment.astimezone(ZoneInfo(show["timezone"])) if moment is not None else None


def chosen(offers: list[dict[str, Any]], value: str) -> dict[str, Any] | None:
    """The offer of this value; the only one where there is no choice."""
    if len(offers) == 1:
        return offers[0]
    return next((offer for offer in offers if offer["value"] == value), None)


def _offers(show: dict[str, Any], tiers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What there is to choose among: each area at each of its prices, in the organizer's order."""
    found = []
    for area in show["areas"]:
        priced: list[dict[str, Any] | None] = [tier for tier in tiers if tier["area"] == area["name"]]
        # An area without any price is free; one whose prices are all hidden is for whoever has a code.
        if not priced and any(tier["area"] == area["name"] for tier in show["tiers"]):
            continue
        for tier in priced or [None]:
            found.append(
                {
                    "value": f"{area['id']}-{tier['id'] if tier else 0}",
                    "area": area["name"],
                    "tier": tier["name"] if tier else None,
                    "amount": tier["amount"] if tier else 0,
                    "available": area["available"],
                }
            )
    return found


def event(
    show: dict[str, Any], offers: list[dict[str, Any]], starts: datetime, here: str, address: str
) -> dict[str, Any]:
    """The show for search engines: https://schema.org/Event, with prices in major units."""
    digits = MINOR_DIGITS_NOT_TWO.get(show["currency"], 2)
    moved_from, doors, sale = _local(show, "previous_start_time"), _local(show, "doors_at"), sale_of(show)
    state = _STATES.get(show["status"], "EventRescheduled" if moved_from else "EventScheduled")
    told: dict[str, Any] = {
        "@context": SCHEMA,
        "@type": "Event",
        "name": show["name"],
        "startDate": starts.isoformat(),
        "eventStatus": f"{SCHEMA}/{state}",
        "eventAttendanceMode": f"{SCHEMA}/OfflineEventAttendanceMode",
        "url": here,
        "offers": [
            {
                "@type": "Offer",
                "name": " · ".join(filter(None, [offer["area"], offer["tier"]])),
                "price": str(Decimal(offer["amount"]).scaleb(-digits)),
                "priceCurrency": show["currency"],
                "availability": f"{SCHEMA}/{_availability(offer, sale)}",
                "url": here,
                **({"validFrom": show["sale_opens_at"]} if show["sale_opens_at"] else {}),
                **({"validThrough": show["sale_closes_at"]} if show["sale_closes_at"] else {}),
            }
            for offer in offers
        ],
    }
    if moved_from is not None:
        told["previousStartDate"] = moved_from.isoformat()
    if doors is not None:
        told["doorTime"] = doors.isoformat()
    if show["picture_id"]:
        told["image"] = [f"{address}/v1/pictures/{show['picture_id']}"]
    if show["description"]:
        told["description"] = show["description"]
    if venue := show["venue"]:
        told["location"] = {"@type": "Place", "name": venue["name"], "address": _postal(venue)}
    told["organizer"] = {"@type": "Organization", "name": show["organizer"]["name"]}
    if show["organizer"]["logo"]:
        told["organizer"]["logo"] = f"{address}{show['organizer']['logo']}"
    return told


def _availability(offer: dict[str, Any], sale: str) -> str:
    if sale == "soon":
        return "PreSale"
    return "InStock" if offer["available"] and sale == "on" else "SoldOut"


def _postal(venue: dict[str, Any]) -> dict[str, str] | str:
    told = {"streetAddress": venue["address"].replace("\n", ", "), "addressLocality": venue["city"]}
    said = {name: value for name, value in told.items() if value}
    return {"@type": "PostalAddress", **said} if said else venue["name"]
