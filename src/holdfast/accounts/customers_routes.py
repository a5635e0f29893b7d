"""Customers over HTTP: a link by mail, the session that it opens, and who they are. `call.state` is the Engine."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts.access import CUSTOMER
from holdfast.accounts.customers import (
    LINK_LENGTH_MAX,
    BadLink,
    CustomerNotFound,
    account_of,
    send_link,
    sign_in_by_link,
)
from holdfast.accounts.people import EMAIL_LENGTH_MAX, normal_email
from holdfast.platform import clock
from holdfast.platform.http import ANYONE, Answer, Call, Routes, Timestamp
from holdfast.platform.limits import by_address

routes = Routes("customers")

_NO_STORE = ((b"cache-control", b"no-store"),)


class LinkRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where the link is to go."""

    email: Annotated[str, Meta(min_length=3, max_length=EMAIL_LENGTH_MAX)]


class LinkToken(msgspec.Struct, forbid_unknown_fields=True):
    """What the link carries."""

    token: Annotated[str, Meta(min_length=1, max_length=LINK_LENGTH_MAX)]


class CustomerToken(msgspec.Struct):
    """A customer's access token, to be sent as `Authorization: Bearer <access_token>`; `expires_in` is in seconds."""

    access_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- a word of RFC 6750


class AccountJson(msgspec.Struct):
    """A customer's account."""

    id: UUID
    email: str
    created_at: Timestamp


@routes.post(
    "/v1/customers/link",
    who=ANYONE,
    body=LinkRequest,
    answers={202: None},
    example={"email": "guest@example.org"},
)
async def create_customer_link(call: Call[LinkRequest]) -> Answer:
    """Send me a link.

    By mail, good once and for half an hour. The answer is the same whoever the address belongs to.
    """
    engine, email = call.state, normal_email(call.body.email)
    await engine.limits.take("magic_link", by_address(call.client_ip))
    await engine.limits.take("magic_link", email)
    async with call.db.transaction() as tx:
        await send_link(tx, engine.secrets, email=email, address=engine.settings.address)
    return Answer(202)


@routes.post(
    "/v1/customers/session",
    who=ANYONE,
    body=LinkToken,
    answers={200: CustomerToken},
    refusals=(BadLink,),
    example={"token": "as-the-link-carries-it"},
)
async def create_customer_session(call: Call[LinkToken]) -> CustomerToken:
    """Sign in by a link.

    The first time makes an account, with all bookings of the address, past and future. The answer is a JWT that speaks
    for a customer and never for staff.
    """
    engine = call.state
    async with call.db.transaction() as tx:
        account = await sign_in_by_link(tx, engine.secrets, call.body.token)
    token = engine.access.customers.issue(account.customer_id)
    return CustomerToken(token.text, token.expires_in)


@routes.get("/v1/customers/me", who=CUSTOMER, answers={200: AccountJson}, refusals=(CustomerNotFound,))
async def read_customer(call: Call[None]) -> Answer:
    """Who am I, as a customer."""
    account = await account_of(call.db, call.state.secrets, call.caller.customer_id)
    return Answer(
        200, AccountJson(account.customer_id, account.email, clock.rfc3339(account.created_at)), _NO_STORE
    )
