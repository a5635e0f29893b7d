"""The sandbox's hosted page: where a person pays with money that is none. `call.state` is the Engine.

It is server-rendered, needs no script and asks nobody else for anything. A shell pays by `curl -d outcome=pay <address>`.
Whoever knows the address of a payment may do with it what its page offers; that it is the sandbox's is written on it.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import Meta

from holdfast.payments.providers import sandbox_books as books
from holdfast.payments.providers.sandbox_books import Payment, SandboxPaymentNotFound
from holdfast.platform.bodies import invalid
from holdfast.platform.db import Transaction
from holdfast.platform.http import ANYONE, HTML, Answer, Call, Routes, fresh
from holdfast.platform.money import Money, plain

CSS = b"text/css; charset=utf-8"
FORM_BYTES_MAX = 4096
FIELDS_MAX = 20
_URI = ":/?#[]@!$&'()*+,;=%~"
Outcome = Literal["pay", "decline", "slow", "late", "challenge", "cancel", "dispute"]
Reason = Literal["card_declined", "insufficient_funds", "expired_card"]

# What people are told of a decline; a code that is not here is shown as it is.
REASONS = {
    "card_declined": "The bank declined the card.",
    "insufficient_funds": "There is not enough money on the account.",
    "expired_card": "The card has expired.",
    "authentication_failed": "The code was wrong three times.",
}

T = TypeVar("T", bound=msgspec.Struct)

routes = Routes("sandbox", missing={"ref": SandboxPaymentNotFound})


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of the page. `seconds` is for money that takes its time; the rest is for developers."""

    outcome: Outcome
    reason: Reason = "card_declined"
    seconds: Annotated[int, Meta(ge=1, le=books.SECONDS_MAX)] = 10
    webhooks: books.Webhooks = "once"
    refunds: books.Refunds = "settle"


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of the second page."""

    code: Annotated[str, Meta(max_length=40)]


@routes.get("/sandbox/pay/{ref:str}", who=ANYONE, query=None, answers={200: "text/html"}, listed=False)
async def sandbox_page(call: Call[None]) -> Answer:
    """The page where the sandbox is paid."""
    payment = await books.seen(_on(call).db, call.path["ref"])
    return _page("sandbox_pay.html", payment, told=REASONS)


@routes.post(
    "/sandbox/pay/{ref:str}",
    who=ANYONE,
    body=bytes,
    query=None,
    body_bytes_max=FORM_BYTES_MAX,
    answers={303: None},
    listed=False,
)
async def choose_in_sandbox(call: Call[bytes]) -> Answer:
    """Pays, declines, is slow, asks for a code, goes back, or disputes, as the form says."""
    db, ref, chosen = _on(call).db, call.path["ref"], _form(call.body, Choice)
    async with db.transaction() as tx:
        payment = await books.arrive(tx, ref)
        if chosen.outcome not in ("cancel", "dispute"):
            await books.choose(tx, ref, chosen.webhooks, chosen.refunds)
        await _do(tx, ref, chosen)
    back = {"challenge": f"/sandbox/pay/{ref}/check", "decline": _here(ref), "dispute": _here(ref)}
    return _see(back.get(chosen.outcome, payment.return_url))


@routes.get("/sandbox/pay/{ref:str}/check", who=ANYONE, query=None, answers={200: "text/html"}, listed=False)
async def sandbox_check_page(call: Call[None]) -> Answer:
    """The second page, as a bank shows it: it asks for a code."""
    payment = await books.seen(_on(call).db, call.path["ref"])
    if payment.state not in ("open", "declined") or payment.money_at is not None:
        return _see(_here(payment.ref))
    return _page("sandbox_check.html", payment, code=books.CODE, wrong=False)


@routes.post(
    "/sandbox/pay/{ref:str}/check",
    who=ANYONE,
    body=bytes,
    query=None,
    body_bytes_max=FORM_BYTES_MAX,
    answers={303: None, 200: "text/html"},
    listed=False,
)
async def check_in_sandbox(call: Call[bytes]) -> Answer:
    """Pays if the code is right; a third wrong one is a decline."""
    db, ref, check = _on(call).db, call.path["ref"], _form(call.body, Check)
    async with db.transaction() as tx:
        await books.arrive(tx, ref)
        is_right = await books.guess(tx, ref, "".join(check.code.split()))
        payment = await books.arrive(tx, ref)
    if is_right:
        return _see(payment.return_url)
    if payment.reason == "authentication_failed" or payment.state not in ("open", "declined"):
        return _see(_here(ref))
    return _page("sandbox_check.html", payment, code=books.CODE, wrong=True)


@routes.get("/sandbox/style.css", who=ANYONE, query=None, answers={200: "text/css"}, listed=False)
async def sandbox_style(call: Call[None]) -> Answer:
    """The stylesheet of both pages."""
    style, tag = _style()
    return fresh(call, style, tag, media=CSS)


def _on(call: Call[Any]) -> Any:
    if "sandbox" not in call.state.providers:
        raise SandboxPaymentNotFound
    return call


async def _do(tx: Transaction, ref: str, chosen: Choice) -> None:
    match chosen.outcome:
        case "pay":
            await books.pay(tx, ref)
        case "decline":
            await books.decline(tx, ref, chosen.reason)
        case "slow" | "late":
            await books.pay_slowly(tx, ref, chosen.seconds, stoppable=chosen.outcome == "slow")
        case "challenge":
            await books.begin_check(tx, ref)
        case "dispute":
            await books.dispute(tx, ref)


def _here(ref: str) -> str:
    return f"/sandbox/pay/{ref}"


def _see(address: str) -> Answer:
    """Goes on by GET, whatever was POSTed."""
    # Nothing but what a URI may have (RFC 3986), so that no address can make a header.
    return Answer(303, None, ((b"location", quote(address, safe=_URI).encode("ascii")),))


def _form(body: bytes, kind: type[T]) -> T:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=False, max_num_fields=FIELDS_MAX)
        return msgspec.convert(dict(pairs), kind, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise invalid(f"This form cannot be understood: {error}.") from None


def _page(template: str, payment: Payment, **more: Any) -> Answer:
    shown = _templates().get_template(template)
    page = shown.render(
        payment=payment,
        amount=plain(Money(payment.amount, payment.currency)),
        webhooks=books.WEBHOOKS,
        refunds=books.REFUNDS,
        reasons=get_args(Reason),
        **more,
    )
    # Browsers hold a form to this list on the way that its answer leads them, too.
    policy = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
        + _origin(payment.return_url)
    )
    headers = ((b"content-security-policy", policy.encode("ascii")),)
    return Answer(200, page.encode(), headers, HTML)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    plain_origin = origin.isascii() and not set(origin) & set(" ;,'\"\\@")
    return f" {origin}" if parts.scheme in ("http", "https") and plain_origin else ""


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("holdfast.payments", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> tuple[bytes, bytes]:
    style = files(__package__).joinpath("sandbox.css").read_bytes()
    return style, b'"%s"' % sha256(style).hexdigest()[:32].encode()
