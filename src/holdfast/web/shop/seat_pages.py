"""The seats of a show to choose from: as sections, rows and boxes to tick, which work without a script.

Scripts put the map and the live list in their place; what they need stands in the element `state` of the page.
"""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from holdfast.platform.http import Answer, Call, Routes
from holdfast.platform.money import MINOR_DIGITS_NOT_TWO
from holdfast.web.pages import spoken_by
from holdfast.web.shop.counter import Counter, part, query_of
from holdfast.web.shop.show_pages import show_values
from holdfast.web.shop.told import Told
from holdfast.web.shop.words import words

# A page of a section ends with the row that brings it here.
SEATS_SHOWN = 300


def routes(counter: Counter) -> Routes:
    """`/shows/{show_id}/seats`."""
    made = Routes("shop")

    async def seats(call: Call[None]) -> Answer:
        query = query_of(call)
        return await seats_page(counter, call, query, query.get("code", ""))

    counter.serve(made, "/shows/{show_id:str}/seats", seats)
    return made


async def seats_page(
    counter: Counter,
    call: Call[Any],
    given: dict[str, str],
    code: str,
    *,
    ticked: frozenset[str] = frozenset(),
    problem: Told | None = None,
) -> Answer:
    """The sections, and the seats of one of them: the one that `area` of the form or the query names, by its id."""
    values = await show_values(counter, call, code)
    show = values["show"]
    seated = [area for area in show["areas"] if area["kind"] == "seated"]
    shown = next((area for area in seated if str(area["id"]) == given.get("area")), None)
    if shown is None and len(seated) == 1:
        shown = seated[0]
    rows: list[dict[str, Any]] = []
    following: int | None = None
    begin = _number(given.get("from", ""))
    if shown is not None:
        at = f"/v1/shows/{part(call, 'show_id')}"
        layout = await counter.read(call, f"{at}/layout", {"version": str(show["version"])})
        availability = await counter.read(call, f"{at}/availability")
        rows, following = _page(layout, availability, shown["id"], begin)
    values |= {
        "sections": [_section(area, values["offers"]) for area in seated],
        "area": shown,
        "rows": rows,
        "from": begin,
        "following": following,
        "prices_here": [offer for offer in values["offers"] if shown and offer["area"] == shown["name"]],
        "ticked": ticked,
        "problem": problem or values["problem"],
        "given": given,
        "state": _state(call, values),
    }
    status = int(problem.members["status"]) if problem else 200
    return counter.page(call, "seats.html", values, status=status)


def _section(area: dict[str, Any], offers: list[dict[str, Any]]) -> dict[str, Any]:
    prices = [offer["amount"] for offer in offers if offer["area"] == area["name"]]
    return {**area, "least": min(prices, default=0), "several": len(set(prices)) > 1}


def _page(
    layout: dict[str, Any], availability: dict[str, Any], area_id: int, begin: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Rows of an area from the one with this number on, and the number of the row behind them."""
    area = next(each for each in layout["areas"] if each["id"] == area_id)
    taken = b64decode(availability["taken"])
    found: list[dict[str, Any]] = []
    count = 0
    for number, row in enumerate(area["rows"][begin:], begin):
        if count >= SEATS_SHOWN:
            return found, number
        seats = list(_seats(area, row, taken))
        count += len(seats)
        found.append({"label": row["label"], "seats": seats, "free": sum(seat["free"] for seat in seats)})
    return found, None


def _seats(area: dict[str, Any], row: dict[str, Any], taken: bytes) -> Iterator[dict[str, Any]]:
    # As the API names seats: the label of the row stands in it where the area has several.
    prefix = f"{row['label']}-" if row["label"] and len(area["rows"]) > 1 else ""
    access = row.get("access") or [None] * len(row["numbers"])
    for ordinal, (number, kept_for) in enumerate(zip(row["numbers"], access, strict=True), row["first"]):
        yield {
            "access": kept_for,
            "name": f"{area['name']}:{prefix}{number}",
            "number": number,
            "free": not (ordinal >> 3 < len(taken) and taken[ordinal >> 3] >> (ordinal & 7) & 1),
        }


def _state(call: Call[Any], values: dict[str, Any]) -> dict[str, Any]:
    """What scripts need: where the API is, what there is to pay, and their texts."""
    show, spoken = values["show"], spoken_by(call)
    at = f"/v1/shows/{show['id']}"
    return {
        "show": {name: show[name] for name in ("id", "name", "version", "max_places_per_booking", "orphans")},
        "api": at,
        "layout": f"{at}/layout?version={show['version']}",
        "availability": f"{at}/availability",
        "live": f"{at}/live",
        "bookings": f"/shows/{show['id']}/bookings/",
        "tiers": [
            {
                "id": int(offer["value"].partition("-")[2]),
                "name": offer["tier"],
                "area": offer["area"],
                "amount": offer["amount"],
            }
            for offer in values["offers"]
            if offer["tier"]
        ],
        "code": values["code"],
        "currency": show["currency"],
        "digits": MINOR_DIGITS_NOT_TWO.get(show["currency"], 2),
        "language": spoken.code,
        "texts": words(spoken),
    }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
