"""Live availability over HTTP, as Server-Sent Events and as a WebSocket. `call.state` is the Engine."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast import accounts
from holdfast.accounts import VISITOR
from holdfast.booking import View
from holdfast.catalog import ShowNotFound
from holdfast.live.hub import Form, Hub
from holdfast.platform.edge import parsed
from holdfast.platform.http import Answer, Call, HeaderParameter, Routes, event_stream
from holdfast.platform.ids import ShowId
from holdfast.platform.limits import by_address

REVISION_MAX = 2**53

routes = Routes("shows", missing={"show_id": ShowNotFound})

LAST_EVENT_ID = HeaderParameter(
    "Last-Event-ID", "The `id` of the last event; browsers send it when they connect again.", r"[0-9]{1,15}"
)


class LiveQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`since` is the revision of the availability that the viewer has; a `Last-Event-ID` wins over it."""

    since: Annotated[int, Meta(ge=0, le=REVISION_MAX)] | None = None


@routes.get(
    "/v1/shows/{show_id}/live", who=VISITOR, query=LiveQuery, headers=(LAST_EVENT_ID,),
    answers={200: "text/event-stream"}, refusals=(ShowNotFound,), upgrades=True,
)  # fmt: skip
async def watch_availability(call: Call[None]) -> Answer:
    """Follow the availability of a show as Server-Sent Events, or upgraded to a WebSocket.

    `event: availability` carries `{"revision", "taken": [ordinals], "freed": [ordinals], "areas": [{"id",
    "available"}]}`: what changed since the event before; the first comes at once. `blocked`, where it is there, has those
    of the taken that the house keeps. Apply what is newer than the revision that you have. `event: reset` carries
    `{"revision"}`: changes were lost, read the availability again until it is at least that new. `event: alive` carries
    `{"revision"}`: nothing happened in the last 15 seconds. The `id` of an event is its revision.

    A request with `Upgrade: websocket` is told the same as JSON text messages, `{"event", "id", "data"}`. Refusals are
    answered before the upgrade. It is closed with 1001 when the process stops, 4404 when the show is public no more, and
    1008 when the client says anything.
    """
    view = await _visible(call)
    hub: Hub = call.state.hub
    query: LiveQuery = call.query
    last = call.header("last-event-id")
    since = int(last) if last is not None else query.since
    form: Form = "message" if call.is_socket else "sse"
    return event_stream(hub.join(view, since, form, address=_counted(call.client_ip)))


def _counted(address: str) -> str | None:
    """Whom a viewer is counted as; None on this machine, as connections are."""
    found = parsed(address)
    return None if found is None or found.is_loopback else by_address(address)


async def _visible(call: Call[Any]) -> View:
    """The show's view, unless it is a draft that the caller may not see."""
    view: View = await call.state.office.views.get(ShowId(call.path["show_id"]))
    show = view.show
    if show.status == "draft" and not accounts.permits(call.caller, "shows.read_all", show.organizer_id):
        raise ShowNotFound
    return view
