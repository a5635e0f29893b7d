"""A show in a frame on the organizer's own pages: what it is, what it costs, how many. Places are taken in a tab of their
own, because browsers keep a frame's cookies from it.

No page of ours but this one can be framed, and this one by the organizer's own sites alone.
"""

import re
from typing import Any

from holdfast.platform.http import Answer, Call, Routes
from holdfast.platform.languages import CODES, language
from holdfast.web.pages import Files, spoken_by
from holdfast.web.shop.counter import PAGE, Counter, part, query_of
from holdfast.web.shop.show_pages import show_values

# What stands in a policy must end where it seems to.
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
_SCRIPT = b"text/javascript; charset=utf-8"
_SCRIPT_HEADERS = (
    (b"cache-control", b"public, max-age=3600"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)


def routes(counter: Counter, static: Files) -> Routes:
    """`/embed/shows/{show_id}`, and `/embed.js`, which gives frames the height that they need."""
    made = Routes("shop")
    script = static.content("app/embedding.js")

    async def show(call: Call[None]) -> Answer:
        """`?lang=` is the language of the page around it, as the visitor's own choice is not told to a frame."""
        query = query_of(call)
        values = await show_values(counter, call, query.get("code", ""))
        framed = await counter.read(call, f"/v1/shows/{part(call, 'show_id')}/embedding")
        by = " ".join(each for each in framed["origins"] if _ORIGIN.fullmatch(each))
        wanted = query.get("lang")
        spoken = language(wanted) if wanted in CODES else spoken_by(call)
        return counter.page(call, "embed.html", values, embedded_by=by or "'none'", spoken=spoken)

    async def send_script(call: Call[None]) -> Answer:
        return Answer(200, script, _SCRIPT_HEADERS, _SCRIPT)

    counter.serve(made, "/embed/shows/{show_id:str}", show)
    options: dict[str, Any] = {**PAGE, "answers": {200: "text/plain"}}
    made.get("/embed.js", **options)(send_script)
    return made
