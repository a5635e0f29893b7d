"""Places claimed by a plain form: so many, the best available, or seats that were ticked."""

from typing import Any

from holdfast.platform.http import Answer, Call, Routes
from holdfast.web.shop.counter import Counter, fields, form, key_of, part, see_other
from holdfast.web.shop.described import chosen
from holdfast.web.shop.seat_pages import seats_page
from holdfast.web.shop.show_pages import show_values
from holdfast.web.shop.told import told


def routes(counter: Counter) -> Routes:
    """`POST /shows/{show_id}/claim`."""
    made = Routes("shop")

    async def claim(call: Call[bytes]) -> Answer:
        """Holds what the form asks for, and goes on to the booking; what is refused is told where it was asked for."""
        given = form(call)
        seats = [value for name, value in fields(call) if name == "seats"]
        values = await show_values(counter, call, given.get("code", ""))
        problem = values["problem"]
        if given.get("seated") and not seats:
            problem = told({"code": "nothing_chosen", "status": 400})
        if problem is None:
            body = _claim(values, given, seats)
            reply = await counter.api.send(
                call, "POST", f"/v1/shows/{part(call, 'show_id')}/bookings", body, key=key_of(given, body)
            )
            if reply.good:
                booking = reply.body
                remembered = counter.remember(call, booking["show_id"], booking["id"], booking["secret"])
                relaxed = f"?relaxed={booking['relaxed']}" if booking.get("relaxed") else ""
                return see_other(f"/shows/{booking['show_id']}/bookings/{booking['id']}{relaxed}", remembered)
            problem = told(reply.body)
        if given.get("seated"):
            return await seats_page(
                counter, call, given, values["code"], ticked=frozenset(seats), problem=problem
            )
        values |= {"given": given, "problem": problem}
        return counter.page(call, "show.html", values, status=problem.members["status"])

    counter.take(made, "/shows/{show_id:str}/claim", claim)
    return made


def _claim(values: dict[str, Any], given: dict[str, str], seats: list[str]) -> dict[str, Any]:
    """The claim that a form asks for: seats that were ticked, or so many of what was chosen."""
    offer = chosen(values["offers"], given.get("offer", ""))
    asked: dict[str, Any] = {"tier": offer["tier"]} if offer and offer["tier"] else {}
    if values["code"]:
        asked["code"] = values["code"]
    if seats or given.get("seated"):
        return {**asked, "seats": seats}
    if offer:
        asked["area"] = offer["area"]
    if given.get("split"):
        asked["split"] = True
    number = given.get("quantity", "")
    # What is no number is for the API to refuse.
    return {
        **asked,
        "quantity": int(number) if number.isascii() and number.isdigit() and len(number) < 6 else number,
    }
