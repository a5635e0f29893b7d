"""Who takes the money: adapters that speak each provider's own language, behind one interface (`payments/provider.py`)."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from holdfast.payments.provider import Provider
from holdfast.payments.providers.breaker import Guarded
from holdfast.payments.providers.sandbox import Sandbox
from holdfast.platform import jobs
from holdfast.platform.db import Database
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import BadSetting, Settings

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def open_providers(settings: Settings, db: Database, secrets: Secrets) -> Mapping[str, Provider]:
    """The providers that `settings.payments` names, by name, the first being the default; each behind a circuit breaker.

    Close each one when done. Raises BadSetting for one whose keys are missing, for one that is named twice, and for the
    sandbox where it could be taken for real.
    """
    names = (settings.payments or "").split(",") if settings.payments else []
    if len(set(names)) < len(names):
        raise BadSetting("HOLDFAST_PAYMENTS names a provider twice.")
    makers: dict[str, Callable[[], Provider]] = {
        "sandbox": lambda: _sandbox(settings, db, secrets),
        "stripe": lambda: _stripe(settings),
        "razorpay": lambda: _razorpay(settings, secrets),
    }
    return {name: Guarded(makers[name](), settings) for name in names}


def is_for_sandbox(settings: Settings) -> bool:
    """Whether nobody but this machine reaches the installation, as far as its settings say, or it is there for tests."""
    hosts = {settings.host, urlsplit(settings.address).hostname or ""}
    return settings.payments_test == "on" or (hosts <= _LOOPBACK and not settings.trusted_proxies)


def sandbox_handlers(providers: Mapping[str, Provider]) -> Mapping[str, jobs.Handler]:
    """The jobs of the sandbox, where it is one of these; none otherwise."""
    guarded = providers.get("sandbox")
    sandbox = guarded.provider if isinstance(guarded, Guarded) else guarded
    return sandbox.handlers() if isinstance(sandbox, Sandbox) else {}


def _sandbox(settings: Settings, db: Database, secrets: Secrets) -> Provider:
    if not is_for_sandbox(settings):
        raise BadSetting(
            "HOLDFAST_PAYMENTS: the sandbox gives tickets for no money, so it starts on loopback alone, under no other name. "
            "HOLDFAST_PAYMENTS_TEST=on lets it be used on a test system that others reach."
        )
    return Sandbox(db, settings, secrets)


def _stripe(settings: Settings) -> Provider:
    # Imported when it is used: the SDK takes a second.
    from holdfast.payments.providers.stripe import Stripe

    [key] = _given(settings, "stripe_key")
    [secret] = _given(settings, "stripe_webhook_secret")
    return Stripe(key, _parts(secret), url=settings.stripe_url, seconds=settings.provider_seconds)


def _razorpay(settings: Settings, secrets: Secrets) -> Provider:
    from holdfast.payments.providers.razorpay import Razorpay

    key_id, key_secret, secret = _given(
        settings, "razorpay_key_id", "razorpay_key_secret", "razorpay_webhook_secret"
    )
    return Razorpay(
        key_id,
        key_secret,
        _parts(secret),
        secrets,
        url=settings.razorpay_url,
        address=settings.address,
        seconds=settings.provider_seconds,
    )


def _given(settings: Settings, *names: str) -> list[str]:
    values = [getattr(settings, name) for name in names]
    if missing := [
        f"HOLDFAST_{name.upper()}" for name, value in zip(names, values, strict=True) if not value
    ]:
        raise BadSetting(f"HOLDFAST_PAYMENTS asks for it, but it is not set: {', '.join(missing)}.")
    return values


def _parts(text: str) -> Sequence[str]:
    """`new,old` while a secret is rotated."""
    return [part.strip() for part in text.split(",") if part.strip()]
