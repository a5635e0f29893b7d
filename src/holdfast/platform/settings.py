"""Every setting, in one frozen struct, from the environment (`HOLDFAST_*`). Read once, handed down, no global.

Each has a default that runs everything embedded, a bound, and one sentence; `holdfast config` prints them all.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "HOLDFAST_"
_SECRET = {"secret": True}
# How many in how many seconds.
_RATE = Meta(pattern=r"^[1-9][0-9]{0,6}/[1-9][0-9]{0,5}s$")


class BadSetting(ValueError):
    """A `HOLDFAST_*` variable is unknown, ill-typed or out of bounds; the message names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings. Durations are seconds unless the name says otherwise."""

    # Where things are
    data: Annotated[str, Meta(description="Folder of the embedded database and of what `up` keeps.")] = (
        "./data"
    )
    database_url: Annotated[
        str | None, Meta(description="A PostgreSQL 15 to 18 of yours; unset: embedded.", extra=_SECRET)
    ] = None
    postgres_bin: Annotated[
        str | None, Meta(description="Folder with `postgres` and `initdb` for the embedded server.")
    ] = None
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on.")] = 8000
    workers: Annotated[int, Meta(ge=1, le=64, description="API processes that `up` starts.")] = 1

    # Who
    secret_key: Annotated[
        Annotated[str, Meta(min_length=32)] | None,
        Meta(
            description="Root of booking secrets and tokens; `up` makes one. `new,old` while it is rotated.",
            extra=_SECRET,
        ),
    ] = None
    admin_email: Annotated[
        str,
        Meta(
            min_length=3, max_length=254, description="The first owner's address, used on an empty database."
        ),
    ] = "owner@example.org"
    admin_password: Annotated[
        Annotated[str, Meta(min_length=8, max_length=1000)] | None,
        Meta(description="The first owner's password.", extra=_SECRET),
    ] = None
    token_seconds: Annotated[int, Meta(ge=60, le=86_400, description="Life of an access token.")] = 900
    session_seconds: Annotated[
        int, Meta(ge=300, le=34_560_000, description="The longest that anybody stays signed in.")
    ] = 2_592_000
    session_idle_seconds: Annotated[
        int, Meta(ge=60, le=34_560_000, description="The console signs out who is away this long.")
    ] = 43_200
    refresh_idle_seconds: Annotated[
        int, Meta(ge=60, le=34_560_000, description="A refresh token unused this long is good no more.")
    ] = 604_800
    public_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+/?$", max_length=300)] | None,
        Meta(description="What stands before every link that is sent; unset: what this process listens on."),
    ] = None
    oidc_issuer: Annotated[
        Annotated[str, Meta(pattern=r"^https?://", max_length=500)] | None,
        Meta(
            description="An OpenID Connect provider that staff may sign in by; its address, as it states it."
        ),
    ] = None
    oidc_client_id: Annotated[str | None, Meta(description="What the provider calls this installation.")] = (
        None
    )
    oidc_client_secret: Annotated[
        str | None, Meta(description="What proves it to the provider.", extra=_SECRET)
    ] = None
    seed_routes: Annotated[
        Literal["open", "staff", "off"],
        Meta(description="Who may use /book and the other routes of the seeds."),
    ] = "staff"
    seed_queue: Annotated[
        bool, Meta(description="POST /api/bookings queues and answers 202 instead of deciding at once.")
    ] = False

    # The database
    pool_max: Annotated[
        int, Meta(ge=2, le=500, description="Connections per process; staff have a quarter as many on top.")
    ] = 20
    connect_seconds: Annotated[
        float, Meta(gt=0, le=60, description="Time to connect, or to get a connection.")
    ] = 2.0
    idle_seconds: Annotated[
        float, Meta(ge=1, le=3600, description="An idle connection is closed after this.")
    ] = 30.0
    query_seconds: Annotated[float, Meta(gt=0, le=600, description="The longest any statement may take.")] = (
        10.0
    )

    # Selling
    hold_seconds: Annotated[int, Meta(ge=10, le=3600, description="A new show's hold time.")] = 120
    hold_seconds_max: Annotated[
        int, Meta(ge=10, le=86_400, description="A new show's longest hold in all.")
    ] = 900
    strategy: Annotated[
        Literal["batched", "row_lock", "optimistic", "redis_lock"],
        Meta(description="How concurrent claims are ordered."),
    ] = "batched"
    redis_url: Annotated[
        str | None, Meta(description="Redis, for redis_lock and for limits.", extra=_SECRET)
    ] = None
    batch_claims_max: Annotated[
        int, Meta(ge=1, le=1024, description="Claims in one call of the database.")
    ] = 128
    claim_lanes: Annotated[int, Meta(ge=1, le=16, description="Batches in flight per process.")] = 2
    claim_queue_max: Annotated[
        int, Meta(ge=1, le=100_000, description="Claims that may wait; over it: 503.")
    ] = 2000
    claim_seconds: Annotated[
        float, Meta(gt=0, le=60, description="The longest a claim waits for its answer.")
    ] = 5.0
    queue_max: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Claims of one show that may be queued (202); over it: 503."),
    ] = 10_000
    sweep_seconds: Annotated[
        float, Meta(gt=0, le=60, description="Time between two sweeps of overdue holds.")
    ] = 1.0
    sweep_max: Annotated[int, Meta(ge=1, le=1000, description="Overdue holds failed in one call.")] = 1000
    idempotency_hours: Annotated[int, Meta(ge=1, le=168, description="How long a key is remembered.")] = 24

    # How often: `100/900s` lets 100 pass at once, and from then on one every 9 seconds
    rate_limits: Annotated[
        Literal["on", "off"],
        Meta(description="`off` is for tests and benchmarks, and starts on loopback alone."),
    ] = "on"
    limits_store: Annotated[
        Literal["memory", "redis"] | None,
        Meta(
            description="Where counts are kept; unset: in Redis when there is one, else each process for itself."
        ),
    ] = None
    limits_keys_max: Annotated[
        int,
        Meta(
            ge=1000,
            le=10_000_000,
            description="Addresses, people or keys that one limit of a process remembers.",
        ),
    ] = 20_000
    limit_reads: Annotated[str, Meta(description="Reads by one address."), _RATE] = "1200/60s"
    limit_writes: Annotated[str, Meta(description="Other requests by one address."), _RATE] = "300/60s"
    limit_claims: Annotated[str, Meta(description="Claims by one address."), _RATE] = "100/900s"
    limit_staff: Annotated[str, Meta(description="Requests of one person who has signed in."), _RATE] = (
        "3000/60s"
    )
    limit_keys: Annotated[str, Meta(description="Requests by one API key."), _RATE] = "6000/60s"
    limit_sign_in_address: Annotated[str, Meta(description="Sign-ins from one address."), _RATE] = "60/900s"
    limit_sign_in_account: Annotated[str, Meta(description="Sign-ins to one account."), _RATE] = "30/900s"
    limit_sign_in_pair: Annotated[
        str, Meta(description="Sign-ins to one account from one address."), _RATE
    ] = "10/900s"
    limit_password_forgot: Annotated[
        str, Meta(description="Letters for a new password, by address and by account."), _RATE
    ] = "5/3600s"  # noqa: S105 -- a rate
    limit_magic_link: Annotated[
        str, Meta(description="Letters with a link to sign in, by address and by account."), _RATE
    ] = "5/3600s"
    limit_transfers: Annotated[
        str,
        Meta(description="Letters to whoever is given a ticket, by address of the sender and by recipient."),
        _RATE,
    ] = "30/3600s"
    limit_provider: Annotated[
        str, Meta(description="Notices of payment providers from one address."), _RATE
    ] = "6000/60s"
    limit_resends: Annotated[
        str,
        Meta(
            description="Letters and text messages with tickets that buyers ask for, by address, by booking and by number."
        ),
        _RATE,
    ] = "5/3600s"
    limit_code: Annotated[str, Meta(description="Guesses of a code by one account or address."), _RATE] = (
        "10/900s"
    )
    limit_promotion: Annotated[
        str, Meta(description="Promotion codes that a show does not have, by address."), _RATE
    ] = "20/600s"

    challenge: Annotated[
        str,
        Meta(
            description="What claims without a name need: `off`, `work` (a proof of work), or a hook, `package.module:name`."
        ),
        Meta(pattern=r"^(off|work|[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*)$"),
    ] = "off"
    challenge_bits: Annotated[
        int, Meta(ge=1, le=40, description="Zero bits that the work asks for; each more doubles it.")
    ] = 18
    challenge_seconds: Annotated[
        int, Meta(ge=10, le=3600, description="How long there is to answer a challenge.")
    ] = 120

    # Reading
    show_list_seconds: Annotated[float, Meta(gt=0, le=3600, description="Cache time of the show list.")] = (
        300.0
    )
    show_seconds: Annotated[float, Meta(gt=0, le=3600, description="Cache time of a show's details.")] = 300.0
    availability_seconds: Annotated[
        float, Meta(gt=0, le=10, description="How old an availability may be.")
    ] = 1.0
    views_max: Annotated[int, Meta(ge=1, le=100_000, description="Shows whose view a process keeps.")] = 2000
    live_viewers_max: Annotated[int, Meta(ge=1, le=100_000, description="Live viewers per process.")] = 5000

    offline_tickets: Annotated[
        Literal["on", "off"],
        Meta(
            description="Whether the shop keeps tickets on the buyer's device; `off` also takes them and the worker away."
        ),
    ] = "on"

    # Working
    job_attempts_max: Annotated[
        int, Meta(ge=1, le=100, description="Tries before a job is a dead letter.")
    ] = 12
    job_lease_seconds: Annotated[
        float, Meta(ge=1, le=3600, description="A worker silent this long is dead.")
    ] = 60.0
    jobs_at_once: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Jobs that one worker runs side by side; of one kind half as many at most.",
        ),
    ] = 8
    job_seconds_max: Annotated[
        float,
        Meta(ge=1, le=86_400, description="A job that has not ended after this is stopped and tried again."),
    ] = 600.0

    metrics_port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        Meta(description="Port where a `holdfast worker` on its own answers /metrics; unset: nowhere."),
    ] = None

    # A message broker
    broker_url: Annotated[
        Annotated[str, Meta(pattern=r"^(amqps?|kafkas?)://", max_length=2000)] | None,
        Meta(
            description="Where every fact is published: amqp(s)://user:password@host/vhost (RabbitMQ) or kafka(s)://host:port,host:port.",
            extra=_SECRET,
        ),
    ] = None
    broker_queues: Annotated[
        str,
        Meta(
            description="Queues that RabbitMQ is made to have and the kinds each gets: `loyalty=booking.*;all=#`; `off`: none."
        ),
        Meta(pattern=r"^(off|[\w.-]{1,100}=[\w.*#,]+(;[\w.-]{1,100}=[\w.*#,]+)*)$", max_length=4000),
    ] = "holdfast.facts=#"
    broker_seconds: Annotated[
        float, Meta(gt=0, le=300, description="The longest that the broker may take over a batch of facts.")
    ] = 10.0

    # Payments
    payments: Annotated[
        Annotated[
            str, Meta(pattern=r"^(sandbox|stripe|razorpay)(,(sandbox|stripe|razorpay))*$", max_length=100)
        ]
        | None,
        Meta(
            description="Who takes the money: `sandbox`, `stripe`, `razorpay`, a comma between them, the first where nobody chooses; unset: nobody."
        ),
    ] = None
    payments_test: Annotated[
        Literal["on", "off"],
        Meta(description="Lets the sandbox, whose money is none, be used elsewhere than on loopback."),
    ] = "off"
    provider_seconds: Annotated[
        float, Meta(gt=0, le=120, description="The longest that one call of a payment provider may take.")
    ] = 15.0
    provider_failures_max: Annotated[
        int,
        Meta(
            ge=1, le=1000, description="Calls that fail one after the other before a provider is left alone."
        ),
    ] = 5
    provider_pause_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="How long it is left alone; then one call tries it.")
    ] = 20.0
    stripe_key: Annotated[
        str | None, Meta(description="Secret or restricted key of the API of Stripe.", extra=_SECRET)
    ] = None
    stripe_webhook_secret: Annotated[
        str | None,
        Meta(
            description="What Stripe signs its webhooks with (`whsec_...`); `new,old` while it is rotated.",
            extra=_SECRET,
        ),
    ] = None
    stripe_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://", max_length=300)] | None,
        Meta(description="Where Stripe's API is, for tests; unset: where it is."),
    ] = None
    razorpay_key_id: Annotated[str | None, Meta(description="Key id of the API of Razorpay.")] = None
    razorpay_key_secret: Annotated[str | None, Meta(description="The secret of that key.", extra=_SECRET)] = (
        None
    )
    razorpay_webhook_secret: Annotated[
        str | None,
        Meta(
            description="What Razorpay signs its webhooks with; `new,old` while it is rotated.", extra=_SECRET
        ),
    ] = None
    razorpay_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://", max_length=300)] | None,
        Meta(description="Where Razorpay's API is, for tests; unset: where it is."),
    ] = None

    # Mail
    smtp_url: Annotated[
        str | None,
        Meta(
            description="Mail server: smtp://user:password@host:587?starttls or smtps://user:password@host.",
            extra=_SECRET,
        ),
    ] = None
    mail_from: Annotated[
        str | None, Meta(description="Where letters come from: `Opera <tickets@example.org>`.")
    ] = None
    mail_folder: Annotated[
        str | None, Meta(description="Folder that letters are put into while no mail server is set.")
    ] = None
    mail_seconds: Annotated[
        float, Meta(gt=0, le=60, description="The longest a mail server may take over one step.")
    ] = 10.0

    mail_page: Annotated[
        Literal["on", "off"],
        Meta(description="`on` shows the letters in the mail folder at /dev/letters, on loopback alone."),
    ] = "off"

    # Letters
    language: Annotated[
        Literal["en", "de"],
        Meta(description="Language of letters to buyers and of invoices, where the organizer chose none."),
    ] = "en"
    reminder_hours: Annotated[
        int,
        Meta(ge=0, le=720, description="How long before a show its buyers are reminded of it; 0: never."),
    ] = 24
    sms_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://", max_length=500)] | None,
        Meta(description="Gateway that text messages are posted to as JSON; unset: there are none."),
    ] = None
    sms_token: Annotated[
        str | None, Meta(description="What proves this installation to that gateway.", extra=_SECRET)
    ] = None

    # Printing
    fonts: Annotated[
        str | None,
        Meta(
            description="Folder with fonts for tickets in scripts that neither Holdfast's nor the system's know."
        ),
    ] = None

    # Calling out
    egress: Annotated[
        Literal["public", "any"],
        Meta(
            description="Where organizers' addresses may lead: `public` is https on public addresses alone; `any` is for development: also http, any port, and private addresses."
        ),
    ] = "public"
    egress_proxy: Annotated[
        str | None,
        Meta(description="HTTP proxy through which all calls to organizers' addresses go.", extra=_SECRET),
    ] = None

    # Serving
    body_bytes_max: Annotated[int, Meta(ge=1024, le=33_554_432, description="The largest request body.")] = (
        1_048_576
    )
    stop_seconds: Annotated[
        float, Meta(gt=0, le=300, description="Time for open requests to end at a stop.")
    ] = 10.0
    tls_cert: Annotated[
        str | None, Meta(description="PEM file of the server's certificate and its chain; unset: plain HTTP.")
    ] = None
    tls_key: Annotated[str | None, Meta(description="PEM file of the certificate's private key.")] = None
    hsts_seconds: Annotated[
        int,
        Meta(ge=0, le=63_072_000, description="What browsers are told under TLS: no plain HTTP for so long."),
    ] = 31_536_000
    trusted_proxies: Annotated[
        str,
        Meta(
            description="Who may say by X-Forwarded-For and -Proto who the client is: addresses, networks, `unix`."
        ),
    ] = ""
    allowed_hosts: Annotated[
        str, Meta(description="Names that a Host header may have; unset: any, on loopback only loopback's.")
    ] = ""
    cors_origins: Annotated[
        str,
        Meta(description="Other sites whose scripts may use the API with credentials: https://a.example,..."),
    ] = ""
    connections_max: Annotated[
        int, Meta(ge=10, le=1_000_000, description="Open connections per process; over it: 503.")
    ] = 10_000
    connections_per_address_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Of one address; trusted proxies and loopback are exempt. Also live viewers of one client behind them.",
        ),
    ] = 1000
    head_seconds: Annotated[
        float, Meta(gt=0, le=600, description="Time for the head of a request, once it has begun.")
    ] = 10.0
    body_seconds: Annotated[
        float, Meta(gt=0, le=600, description="Time for a body, and a second more for each 16 KiB of it.")
    ] = 30.0
    keep_alive_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="An idle connection of a client is closed after this.")
    ] = 75.0
    unread_seconds: Annotated[
        float,
        Meta(gt=0, le=3600, description="A client that does not take its answer is cut off after this."),
    ] = 60.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level logged.")
    ] = "info"
    log_format: Annotated[Literal["json", "console"], Meta(description="How log lines look.")] = "json"

    @property
    def address(self) -> str:
        """Where people find this installation, without a slash at the end: what every link begins with."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if getattr(self, "tls_cert", None) else "http"
        return f"{scheme}://{host}:{self.port}"


_HINTS = get_type_hints(Settings, include_extras=True)
_FIELDS = {PREFIX + field.name.upper(): field for field in msgspec.structs.fields(Settings)}
# Set for a child process by its parent or by tests and tools; not settings of the engine.


def read(environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """The settings that `environ` and then `overrides` (by field name, None is ignored) ask for.

    Raises BadSetting for a variable that is unknown, ill-typed or out of bounds.
    """
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX):
            continue
        if name not in _FIELDS:
            raise BadSetting(f"{name} is not a setting. `holdfast config` lists them all.")
        if text != "":
            values[_FIELDS[name].name] = text
    values.update({name: value for name, value in overrides.items() if value is not None})
    settings = _convert(values)
    if settings.hold_seconds > settings.hold_seconds_max:
        raise BadSetting("HOLDFAST_HOLD_SECONDS is more than HOLDFAST_HOLD_SECONDS_MAX.")
    return settings


def _convert(values: dict[str, Any]) -> Settings:
    for name, value in values.items():
        try:
            msgspec.convert(value, _HINTS[name], strict=False)
        except msgspec.ValidationError as error:
            shown = "the value given" if _is_secret(name) else repr(value)
            raise BadSetting(f"{PREFIX}{name.upper()}: {shown} will not do: {error}.") from None
    return msgspec.convert(values, Settings, strict=False)


def described(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(variable, effective value with secrets hidden, one sentence) for each setting, in the order of the struct."""
    for variable, field in _FIELDS.items():
        value = getattr(settings, field.name)
        shown = (
            "(set)" if value is not None and _is_secret(field.name) else "" if value is None else str(value)
        )
        yield variable, shown, _meta(field.name).description or ""


def environment(settings: Settings) -> dict[str, str]:
    """The `HOLDFAST_*` variables that give a child process these very settings, secrets included."""
    pairs = ((variable, getattr(settings, field.name)) for variable, field in _FIELDS.items())
    return {variable: str(value) for variable, value in pairs if value is not None}


def _meta(name: str) -> Meta:
    hint = _HINTS[name]
    assert get_origin(hint) is Annotated
    return next(arg for arg in get_args(hint) if isinstance(arg, Meta))


def _is_secret(name: str) -> bool:
    return bool((_meta(name).extra or {}).get("secret"))
