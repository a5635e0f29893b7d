"""Where Razorpay's page sends the buyer back to: by POST, so that it cannot be the buyer's page itself. `call.state` is the
Engine.

It decides nothing: whether money came, the provider is asked or tells by webhook.
"""

from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

import msgspec
from msgspec import Meta

from holdfast.payments.provider import BadSignature
from holdfast.payments.providers.breaker import Guarded
from holdfast.payments.providers.razorpay import RETURN_PATH, RETURN_PURPOSE, Razorpay
from holdfast.platform.errors import NotFound
from holdfast.platform.http import ANYONE, Answer, Call, Routes

FORM_BYTES_MAX = 16_384
FIELDS_MAX = 50
# Nothing but what a URI may have (RFC 3986), so that no address can make a header.
URI = ":/?#[]@!$&'()*+,;=%~"

routes = Routes("payments")


class ReturnQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the buyer came from, and our signature of it, so that nobody is led elsewhere."""

    to: Annotated[str, Meta(max_length=2000)] = ""
    by: Annotated[str, Meta(max_length=100)] = ""


@routes.post(
    RETURN_PATH,
    who=ANYONE,
    body=bytes,
    body_bytes_max=FORM_BYTES_MAX,
    query=ReturnQuery,
    answers={303: None},
    refusals=(BadSignature, NotFound),
    listed=False,
)
async def return_from_razorpay(call: Call[bytes]) -> Answer:
    """Leads the buyer on to the page that the payment was begun from."""
    adapter = _razorpay(call.state.providers)
    to = call.query.to
    if not call.state.secrets.verify(RETURN_PURPOSE, call.query.by, to.encode()):
        raise BadSignature("This way back is not one of ours.")
    form = _form(call.body)
    # A try that failed comes back without a signature.
    if "razorpay_signature" in form and not adapter.is_return(
        form.get("razorpay_order_id", ""), form.get("razorpay_payment_id", ""), form["razorpay_signature"]
    ):
        raise BadSignature
    return Answer(303, None, ((b"location", quote(to, safe=URI).encode("ascii")),))


def _razorpay(providers: Any) -> Razorpay:
    guarded = providers.get("razorpay")
    adapter = guarded.provider if isinstance(guarded, Guarded) else guarded
    if not isinstance(adapter, Razorpay):
        raise NotFound
    return adapter


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("ascii", "replace"), max_num_fields=FIELDS_MAX))
    except ValueError:
        raise BadSignature("This form cannot be understood.") from None
