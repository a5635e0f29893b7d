"""Which providers an installation has, and which it does not start with."""

from typing import Any

import pytest

from holdfast.payments import open_providers
from holdfast.platform.db import Database
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings, described, read

pytestmark = pytest.mark.anyio
SECRETS = Secrets("a-secret-for-tests-and-nothing-else")
STRIPE = {"stripe_key": "sk_1", "stripe_webhook_secret": "whsec_1"}
RAZORPAY = {"razorpay_key_id": "rzp", "razorpay_key_secret": "s", "razorpay_webhook_secret": "w"}


async def opened(db: Database, **settings: Any) -> list[str]:
    providers = open_providers(Settings(**settings), db, SECRETS)
    for provider in providers.values():
        await provider.aclose()
    return list(providers)


async def test_providers_are_those_that_are_named_in_their_order(db: Database) -> None:
    assert await opened(db) == []
    named = await opened(db, payments="stripe,sandbox,razorpay", **STRIPE, **RAZORPAY)
    assert named == ["stripe", "sandbox", "razorpay"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"payments": "stripe"}, "HOLDFAST_STRIPE_KEY"),
        ({"payments": "stripe", "stripe_key": "sk_1"}, "HOLDFAST_STRIPE_WEBHOOK_SECRET"),
        ({"payments": "razorpay", "razorpay_key_id": "rzp"}, "HOLDFAST_RAZORPAY_KEY_SECRET"),
        ({"payments": "sandbox,sandbox"}, "twice"),
        ({"payments": "sandbox", "host": "0.0.0.0"}, "HOLDFAST_PAYMENTS_TEST=on"),
        ({"payments": "sandbox", "public_url": "https://opera.test"}, "HOLDFAST_PAYMENTS_TEST=on"),
        ({"payments": "sandbox", "trusted_proxies": "127.0.0.1"}, "HOLDFAST_PAYMENTS_TEST=on"),
    ],
)
async def test_what_cannot_work_does_not_start(db: Database, given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        await opened(db, **given)


async def test_the_sandbox_may_be_asked_for_on_a_test_system(db: Database) -> None:
    assert await opened(db, payments="sandbox", host="0.0.0.0", payments_test="on") == ["sandbox"]


def test_unknown_providers_are_no_setting_and_keys_are_not_shown() -> None:
    with pytest.raises(BadSetting, match="HOLDFAST_PAYMENTS"):
        read({"HOLDFAST_PAYMENTS": "paypal"})
    shown = {name: value for name, value, _ in described(read({}, **STRIPE, **RAZORPAY))}
    assert {shown[f"HOLDFAST_{name.upper()}"] for name in {**STRIPE, **RAZORPAY}} == {"(set)", "rzp"}
