"""Signing in by another provider: OpenID Connect Core 1.0, the code flow with PKCE (RFC 7636), for one issuer.

The operator names the issuer, so it may well stand in the same private network, and is asked directly. What a browser
brings back is believed only together with the sealed cookie that it was sent away with. Of the provider's answer the
ID token alone counts: its signature by the published keys, issuer, audience, times, nonce, and an address that the
provider says it has verified.
"""

import asyncio
import secrets as random
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from holdfast.platform import telemetry
from holdfast.platform.db import no_transaction_is_open
from holdfast.platform.errors import Busy, NotFound, Refusal
from holdfast.platform.secret import Secrets, Unsealable
from holdfast.platform.settings import BadSetting, Settings

PURPOSE = "oidc"
CALLBACK_PATH = "/v1/auth/oidc/callback"
# From leaving for the provider to coming back.
AWAY_SECONDS = 600
# Every answer of the provider, and all of them for one person together.
ANSWER_SECONDS = 5.0
SIGN_IN_SECONDS = 10.0
ANSWER_BYTES_MAX = 1_048_576
FIELDS_MAX = 20
RANDOM_BYTES = 32
# Its addresses and keys are asked for again after this; for keys that are not known yet, after the second.
KNOWN_SECONDS = 3600.0
KEYS_AGAIN_SECONDS = 30.0
# How far its clock may be off.
LEEWAY_SECONDS = 60
SUBJECT_LENGTH_MAX = 255  # OpenID Connect Core 1.0, section 2
# Signatures by key pairs alone. `none` and those by a shared secret are not read.
ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]

T = TypeVar("T")
log = telemetry.log("oidc")


class OidcOff(NotFound):
    code = "oidc_off"
    title = "Signing in by another provider is not set up here."


class OidcRefused(Refusal):
    """The provider said no, or what it or the browser brought does not hold together. The log has the cause."""

    code = "oidc_refused"
    status = 401
    title = "Signing in by the other provider did not work. Try again from the start."


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as the provider knows them: `subject` for ever, the address, which it has verified, for now."""

    issuer: str
    subject: str
    email: str


@dataclass(frozen=True, slots=True)
class Departure:
    """Where to send the browser, and the cookie that it must bring back."""

    location: str
    cookie: str


class _Away(msgspec.Struct, frozen=True):
    state: str
    nonce: str
    verifier: str
    until: float


class _Provider(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    iat: float
    nonce: str
    azp: str | None = None
    nbf: float | None = None
    email: str | None = None
    email_verified: bool = False


@asynccontextmanager
async def opened_oidc(settings: Settings, secrets: Secrets) -> AsyncIterator["Oidc"]:
    """The provider that the settings name, if any, with a client of its own until the end of the block.

    Raises BadSetting for half a provider.
    """
    if (settings.oidc_issuer is None) != (settings.oidc_client_id is None):
        raise BadSetting("HOLDFAST_OIDC_ISSUER and HOLDFAST_OIDC_CLIENT_ID need each other.")
    if settings.oidc_issuer is None:
        # A client costs a tenth of a second, which most installations need not pay.
        yield Oidc(settings, secrets, None)
        return
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, follow_redirects=False) as client:
        yield Oidc(settings, secrets, client)


class Oidc:
    """The provider that the settings name; `client` reaches it, and its owner closes it."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        client: httpx.AsyncClient | None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id or ""
        self._client_secret = settings.oidc_client_secret
        self._redirect_uri = settings.address + CALLBACK_PATH
        self._secrets = secrets
        self._client = client
        self._now = now
        self._provider: tuple[_Provider, float] | None = None
        self._keys: tuple[KeySet, float] | None = None

    @property
    def is_on(self) -> bool:
        """Whether there is a provider."""
        return self._client is not None and self.issuer is not None

    async def depart(self) -> Departure:
        """Where to send a browser that wants to sign in. Raises OidcOff, and Busy when the provider does not answer."""
        provider = await self._known_provider()
        away = _Away(_unguessable(), _unguessable(), _unguessable(), self._now() + AWAY_SECONDS)
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid email",
            "state": away.state,
            "nonce": away.nonce,
            "code_challenge": _b64(sha256(away.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in provider.authorization_endpoint else "?"
        sealed = self._secrets.seal(PURPOSE, msgspec.json.encode(away))
        return Departure(provider.authorization_endpoint + joint + urlencode(query), _b64(sealed))

    async def arrive(self, cookie: str | None, query_string: str) -> Identity:
        """Whom the provider sent back with this cookie and query.

        Raises OidcOff, OidcRefused, and Busy when the provider does not answer.
        """
        assert no_transaction_is_open(), "the provider is asked outside every transaction"
        if not self.is_on:
            raise OidcOff
        away = self._away(cookie)
        try:
            query = dict(parse_qsl(query_string, max_num_fields=FIELDS_MAX))
        except ValueError:
            raise _refused("the query is not understood") from None
        if not compare_digest(query.get("state", "").encode("utf-8", "surrogatepass"), away.state.encode()):
            raise _refused("the state is another")
        # RFC 9207: an answer of another provider than the one that was asked.
        if query.get("iss", self.issuer) != self.issuer:
            raise _refused("the answer is another provider's")
        if "code" not in query:
            raise _refused("the provider refused", error=query.get("error", "")[:100])
        try:
            async with asyncio.timeout(SIGN_IN_SECONDS):
                id_token = await self._exchanged(query["code"], away.verifier)
                return self._identity(await self._claims(id_token), away.nonce)
        except TimeoutError:
            raise Busy("The provider does not answer.", retry_after=5) from None

    def _away(self, cookie: str | None) -> _Away:
        try:
            if cookie is None:
                raise ValueError("no cookie")
            sealed = urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            away = msgspec.json.decode(self._secrets.unseal(PURPOSE, sealed), type=_Away)
        except (ValueError, Unsealable):
            raise _refused("the cookie is none of ours") from None
        if away.until < self._now():
            raise _refused("the cookie is too old")
        return away

    async def _exchanged(self, code: str, verifier: str) -> str:
        provider = await self._known_provider()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        auth: httpx.BasicAuth | None = None
        if self._client_secret is None:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
            # RFC 6749, section 2.3.1: both are encoded as in a form first.
            pair = [urlencode({"": text})[1:] for text in (self._client_id, self._client_secret)]
            auth = httpx.BasicAuth(*pair)
        else:
            form |= {"client_id": self._client_id, "client_secret": self._client_secret}
        return (await self._asked("POST", provider.token_endpoint, _Tokens, data=form, auth=auth)).id_token

    async def _claims(self, id_token: str) -> _Claims:
        try:
            try:
                token = jwt.decode(id_token, await self._known_keys(), algorithms=ALGORITHMS)
            except InvalidKeyIdError:
                # It may have been signed by a key that is newer than what we know.
                token = jwt.decode(id_token, await self._known_keys(anew=True), algorithms=ALGORITHMS)
            return msgspec.convert(token.claims, _Claims)
        except (Busy, OidcRefused):
            raise
        except (JoseError, ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
            raise _refused("the ID token is not valid", error=type(error).__name__) from None

    def _identity(self, claims: _Claims, nonce: str) -> Identity:
        # OpenID Connect Core 1.0, section 3.1.3.7, in its order.
        now = self._now()
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        wrong = {
            "issuer": claims.iss != self.issuer,
            "audience": self._client_id not in audience,
            "authorized party": claims.azp != self._client_id
            if len(audience) > 1
            else claims.azp not in (None, self._client_id),
            "expiry": claims.exp <= now - LEEWAY_SECONDS,
            "time of issue": claims.iat > now + LEEWAY_SECONDS,
            "begin": claims.nbf is not None and claims.nbf > now + LEEWAY_SECONDS,
            "nonce": not compare_digest(claims.nonce.encode("utf-8", "surrogatepass"), nonce.encode()),
            "subject": not 0 < len(claims.sub) <= SUBJECT_LENGTH_MAX,
            "address": not claims.email,
            "verification of the address": not claims.email_verified,
        }
        if any(wrong.values()):
            raise _refused(
                "the ID token does not hold", wrong=[name for name, is_so in wrong.items() if is_so]
            )
        assert self.issuer is not None and claims.email is not None
        return Identity(self.issuer, claims.sub, claims.email)

    async def _known_provider(self) -> _Provider:
        if not self.is_on:
            raise OidcOff
        assert self.issuer is not None
        if self._provider is None or self._provider[1] < self._now():
            url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = await self._asked("GET", url, _Provider)
            if found.issuer != self.issuer:
                raise _refused("the provider states another issuer", issuer=found.issuer[:200])
            self._provider = (found, self._now() + KNOWN_SECONDS)
        return self._provider[0]

    async def _known_keys(self, *, anew: bool = False) -> KeySet:
        age = KEYS_AGAIN_SECONDS if anew else KNOWN_SECONDS
        if self._keys is None or self._keys[1] + age < self._now():
            provider = await self._known_provider()
            found = await self._asked("GET", provider.jwks_uri, dict[str, Any])
            self._keys = (KeySet.import_key_set(found), self._now())  # type: ignore[arg-type]
        return self._keys[0]

    async def _asked(self, method: str, url: str, wanted: type[T], **what: Any) -> T:
        assert self._client is not None
        try:
            answer = await self._client.request(method, url, timeout=ANSWER_SECONDS, **what)
        except httpx.HTTPError as error:
            log.warning("provider away", error=type(error).__name__)
            raise Busy("The provider does not answer.", retry_after=5) from None
        if answer.status_code >= 500:
            raise Busy("The provider does not answer.", retry_after=5)
        if answer.status_code != 200 or len(answer.content) > ANSWER_BYTES_MAX:
            raise _refused("the provider refused", status=answer.status_code)
        try:
            return msgspec.json.decode(answer.content, type=wanted)
        except msgspec.DecodeError as error:
            raise _refused("the provider's answer is not understood", error=str(error)) from None


def _refused(why: str, **more: Any) -> OidcRefused:
    log.warning("sign-in refused", why=why, **more)
    return OidcRefused()


def _unguessable() -> str:
    return random.token_urlsafe(RANDOM_BYTES)


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
