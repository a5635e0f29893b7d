"""The shop: what buyers see, from what is on to the tickets in hand, made of the public API's answers and nothing else."""

from holdfast.platform.http import Routes
from holdfast.web.api import Api
from holdfast.web.pages import Files, Pages, file_routes
from holdfast.web.shop import (
    app_pages,
    booking_pages,
    claim_pages,
    door_pages,
    embed_pages,
    find_pages,
    look,
    seat_pages,
    show_pages,
    ticket_pages,
)
from holdfast.web.shop.counter import Counter

__all__ = ["shop_routes"]

_PARTS = (show_pages, seat_pages, claim_pages, booking_pages, ticket_pages, door_pages, find_pages)


def shop_routes(api: Api, *, address: str, secure: bool, offline: bool) -> list[Routes]:
    """Every page of the shop, and the files that they need. `address` is where links to this installation begin; `secure`:
    cookies go over https alone; `offline`: tickets are kept on the buyer's device.
    """
    static = Files()
    counter = Counter(api, Pages("shop", static, offline=offline), address, secure)
    return [
        *(each.routes(counter) for each in _PARTS),
        look.routes(),
        app_pages.routes(counter, static, offline=offline),
        embed_pages.routes(counter, static),
        file_routes(static),
    ]
