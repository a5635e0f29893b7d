"""Find my tickets, for whoever has lost the letter; and the choice of the language."""

from typing import Any

from holdfast.platform.http import Answer, Call, Routes
from holdfast.platform.languages import CODES
from holdfast.web.pages import LANGUAGE_COOKIE
from holdfast.web.shop.counter import COOKIE_SECONDS, Counter, form, query_of, see_other
from holdfast.web.shop.told import told


def routes(counter: Counter) -> Routes:
    """`/tickets` and `POST /language`."""
    made = Routes("shop")

    async def ask(call: Call[None]) -> Answer:
        values: dict[str, Any] = {**_said(query_of(call)), "problem": None, "given": {}}
        return counter.page(call, "find.html", values)

    async def find(call: Call[bytes]) -> Answer:
        """Has the letter sent. Whether there is anything to find is said by it alone."""
        given = form(call)
        reply = await counter.api.send(call, "POST", "/v1/bookings/find", {"email": given.get("email", "")})
        if reply.good:
            return see_other("/tickets?sent=1")
        values = {**_said({}), "problem": told(reply.body), "given": given, "here": "/tickets"}
        return counter.page(call, "find.html", values, status=reply.status)

    async def speak(call: Call[bytes]) -> Answer:
        """Keeps the language in the browser, and goes back to where the visitor was."""
        given = form(call)
        back = given.get("back", "/")
        if not back.startswith("/") or back.startswith(("//", "/\\")):
            back = "/"
        code = given.get("language")
        if code not in CODES:
            return see_other(back)
        line = f"{LANGUAGE_COOKIE}={code}; Path=/; Max-Age={COOKIE_SECONDS}; SameSite=Lax"
        kept = (line + ("; Secure" if counter.secure else "")).encode("ascii")
        return see_other(back, (b"set-cookie", kept))

    counter.serve(made, "/tickets", ask)
    counter.take(made, "/tickets", find)
    counter.take(made, "/language", speak)
    return made


def _said(query: dict[str, str]) -> dict[str, bool]:
    """What the page says has just been done: a letter sent, tickets removed from the device."""
    return {name: query.get(name) == "1" for name in ("sent", "gone")}
