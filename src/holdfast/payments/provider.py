"""What a payment provider is to Holdfast: seven calls, and the words in which each of them answers.

Adapters (`providers/`) speak each provider's own language and say here what is true over there; they keep nothing and
decide nothing. Every call is made with no transaction open. What a call says may be old by the time it is heard, so only
the conditional updates of `queries.sql` turn it into state.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from holdfast.platform.errors import Refusal

# Of a payment at the provider. `declined`: this try failed; the same attempt may still be paid where the provider allows
# it. `closed`: no money came, and none can come any more.
State = Literal["open", "succeeded", "declined", "closed"]
RefundState = Literal["pending", "settled", "failed"]
NoticeKind = Literal["payment", "refund", "dispute", "other"]


class BadSignature(Refusal):
    """A webhook that its provider did not sign, or signed too long ago; or one that says nothing that can be read."""

    code = "bad_signature"
    status = 400
    title = "The signature of this webhook is not the provider's."


class ProviderDown(Exception):
    """The provider did not answer, or said that it cannot now: the same call may be made again later."""


class ProviderRefused(Exception):
    """The provider said no, and would say so again: to call again is of no use."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to pay one booking. `amount` is in minor units of `currency` (ISO 4217); after `expires_at` nobody wants the
    money any more. The provider is given `show_id` and `payment_id` to say them again in everything that it sends.
    """

    payment_id: UUID
    show_id: UUID
    booking_id: UUID
    reference: str
    amount: int
    currency: str
    description: str
    return_url: str
    expires_at: datetime
    email: str | None = None


class Opened(msgspec.Struct, frozen=True):
    """Where the buyer pays: a page of the provider's, asked for with this method and these form fields."""

    ref: str
    url: str
    method: Literal["GET", "POST"] = "GET"
    fields: dict[str, str] = {}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says of an attempt. `charge` is its id of the money taken, which a refund names; `amount` is what
    was taken where money was, else what was asked for. `payment_id` and `show_id` are what we once gave it.
    """

    ref: str
    state: State
    amount: int
    currency: str
    payment_id: UUID | None = None
    show_id: UUID | None = None
    reason: str | None = None
    charge: str | None = None
    disputed: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Money that is to go back: `amount` minor units of the charge of an attempt."""

    refund_id: UUID
    payment_id: UUID
    show_id: UUID
    ref: str
    charge: str
    amount: int
    currency: str


class SeenRefund(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider says of a refund; `ref` is the provider's id of it, `refund_id` ours where it knows it."""

    ref: str
    state: RefundState
    amount: int
    currency: str
    refund_id: UUID | None = None
    reason: str | None = None


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook whose signature held. `seen` is what it says of the payment or refund, as of the moment it was written;
    for a kind of event that is not known here the kind is `other`, and `seen` may be missing.
    """

    event_id: str
    kind: NoticeKind
    show_id: UUID | None = None
    payment_id: UUID | None = None
    refund_id: UUID | None = None
    seen: Seen | SeenRefund | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the provider's own books; `id` and `show_id` are ours, where the entry carries them."""

    kind: Literal["payment", "refund"]
    ref: str
    amount: int
    currency: str
    state: State | RefundState
    created_at: datetime
    id: UUID | None = None
    show_id: UUID | None = None


class Provider(Protocol):
    """A payment provider. Every call raises ProviderDown or ProviderRefused, `read` BadSignature."""

    @property
    def name(self) -> str:
        """As the provider is called in settings, paths and rows: `sandbox`."""

    async def open(self, attempt: Attempt) -> Opened:
        """Makes the place to pay; called again with the same attempt it answers the same one (idempotent by payment_id)."""

    async def look(self, ref: str) -> Seen:
        """The truth now."""

    async def close(self, ref: str) -> Seen:
        """Lets no money come any more, and says what is true afterwards: `closed`, or `succeeded` where it was too late."""

    async def refund(self, wish: Wish) -> SeenRefund:
        """Sends money back; called again with the same wish, however much later, it answers the same refund (idempotent by
        refund_id), also when that failed: whoever wants to try again asks with another id.
        """

    async def look_refund(self, refund_id: UUID, ref: str) -> SeenRefund:
        """The truth now of a refund that was asked for."""

    def listed(self, since: datetime, until: datetime) -> AsyncIterator[Listed]:
        """The provider's books of this span of time, page by page."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """A webhook, once its signature holds. `headers` have names in lower case."""

    async def aclose(self) -> None:
        """Lets go of connections."""
