"""What a caller without a name does before it may ask for something scarce: a proof of work, or what a hook asks.

Work costs a person half a second of their device and a crowd of programs the same for every try, and needs no third
party. The client asks for a seed, or is given one with the refusal, and finds a nonce so that the SHA-256 of
`<seed>.<nonce>` begins with so many zero bits; that text is the header `Challenge-Answer`.

A hook is named by the setting as `package.module:name`, something that is called with the Settings and gives a
`Challenger`; one for a captcha posts the header to its provider in `verify`.
"""

import re
import secrets as random
from collections import OrderedDict
from hashlib import blake2b, sha256
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from holdfast.platform import clock
from holdfast.platform.errors import Refusal
from holdfast.platform.limits import by_address
from holdfast.platform.secret import TOKEN_LENGTH, Secrets
from holdfast.platform.settings import BadSetting, Settings

if TYPE_CHECKING:
    from holdfast.platform.calls import Call
    from holdfast.platform.redis import Door

ANSWER = b"challenge-answer"
# Seeds that are remembered as spent. Each cost somebody the work, and when there are more the oldest is forgotten first.
SPENT_MAX = 100_000

_PAYLOAD_LENGTH = 8 + 16 + 2
_ANSWER = re.compile(rb"[0-9a-f]{%d}[A-Za-z0-9_-]{%d}\.[A-Za-z0-9_-]{1,32}" % (_PAYLOAD_LENGTH, TOKEN_LENGTH))


class ChallengeNeeded(Refusal):
    """Solve `challenge`, and send the same again with the header Challenge-Answer."""

    code = "challenge_needed"
    status = 403
    title = "Solve the challenge first."


class ChallengeFailed(Refusal):
    """The answer is wrong, too old, for something else or was used before. `challenge` is a fresh one."""

    code = "challenge_failed"
    status = 403
    title = "The answer to the challenge will not do."


class Challenge(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to do. `work`: find a nonce so that the SHA-256 of `<seed>.<nonce>` begins with `bits` zero bits.

    Any other kind is a hook's, which says in `parameters` what its widget needs. `none`: claims need no answer.
    """

    kind: str
    seed: str | None = None
    bits: int | None = None
    expires_in_seconds: int | None = None
    parameters: dict[str, str] = {}


class Challenger(Protocol):
    """Stands in front of what is scarce; `subject` is what the caller wants some of (the id of a show)."""

    def pose(self, call: "Call[Any]", subject: bytes) -> Challenge:
        """A fresh challenge for this caller."""
        ...

    async def verify(self, call: "Call[Any]", subject: bytes) -> None:
        """Raises ChallengeNeeded without an answer and ChallengeFailed for one that will not do."""
        ...

    async def close(self) -> None:
        """Lets go of what it has opened."""
        ...


class Work:
    """The proof of work. A seed is good for one subject, one address, once, and `challenge_seconds`.

    It is signed and not stored. Which are spent is known to this process, and to all of them through Redis. The same
    answer passes again with the Idempotency-Key that it came with, so that a claim can be sent again.
    """

    def __init__(self, settings: Settings, secrets: Secrets, door: "Door | None" = None) -> None:
        self._bits = settings.challenge_bits
        self._seconds = settings.challenge_seconds
        self._secrets = secrets
        self._door = door
        self._spent: OrderedDict[str, bytes] = OrderedDict()

    def pose(self, call: "Call[Any]", subject: bytes) -> Challenge:
        """A fresh seed for this address."""
        expires = int(clock.now().timestamp()) + self._seconds
        payload = f"{expires:08x}{random.token_hex(8)}{self._bits:02x}"
        seed = payload + self._secrets.sign("challenge", *_bound(call, subject, payload))
        return Challenge("work", seed, self._bits, self._seconds)

    async def verify(self, call: "Call[Any]", subject: bytes) -> None:
        """Raises ChallengeNeeded and ChallengeFailed, each with a fresh challenge."""
        answer = call.headers.get(ANSWER)
        if answer is None:
            raise ChallengeNeeded(challenge=self.pose(call, subject))
        why = self._wrong(call, subject, answer)
        if why is None:
            seed = answer.partition(b".")[0].decode()
            key = call.idempotency_key()
            # Without a key nothing is the same request again.
            mark = random.token_bytes(16) if key is None else blake2b(key.encode(), digest_size=16).digest()
            if await self._is_spent(seed, mark):
                why = "It was used before."
        if why is not None:
            raise ChallengeFailed(why, challenge=self.pose(call, subject))

    def _wrong(self, call: "Call[Any]", subject: bytes, answer: bytes) -> str | None:
        if not _ANSWER.fullmatch(answer):
            return "It should be the seed, a dot, and a nonce of 1 to 32 letters, digits, - or _."
        payload = answer[:_PAYLOAD_LENGTH].decode()
        signature = answer[_PAYLOAD_LENGTH:].partition(b".")[0].decode()
        if not self._secrets.verify("challenge", signature, *_bound(call, subject, payload)):
            return "Its seed was given for something else, or to another address."
        if int(payload[:8], 16) < clock.now().timestamp():
            return "It came too late."
        if zero_bits(sha256(answer).digest()) < int(payload[-2:], 16):
            return "The nonce gives too few zero bits."
        return None

    async def _is_spent(self, seed: str, mark: bytes) -> bool:
        known = self._spent.setdefault(seed, mark)
        if len(self._spent) > SPENT_MAX:
            self._spent.popitem(last=False)
        if known == mark and self._door is not None:
            client = self._door.client

            async def first() -> Any:
                async with client.pipeline() as pipe:
                    pipe.set(f"holdfast:spent:{seed}", mark, nx=True, ex=self._seconds)
                    pipe.get(f"holdfast:spent:{seed}")
                    return (await pipe.execute())[1]

            # While Redis is away this process alone knows what was spent here.
            known = await self._door.ask(first) or known
        return known != mark

    async def close(self) -> None:
        """Lets go of Redis."""
        if self._door is not None:
            await self._door.close()


def zero_bits(digest: bytes) -> int:
    """How many zero bits it begins with."""
    return len(digest) * 8 - int.from_bytes(digest, "big").bit_length()


def _bound(call: "Call[Any]", subject: bytes, payload: str) -> tuple[bytes, bytes, bytes]:
    return subject, by_address(call.client_ip).encode(), payload.encode()


def open_challenger(settings: Settings, secrets: Secrets) -> Challenger | None:
    """What the setting `challenge` asks for; None when it asks for nothing. Raises BadSetting for no such hook."""
    if settings.challenge == "off":
        return None
    if settings.challenge == "work":
        door = None
        if settings.redis_url is not None and settings.limits_store != "memory":
            from holdfast.platform.redis import Door

            door = Door(settings.redis_url)
        return Work(settings, secrets, door)
    try:
        hook = resolve_name(settings.challenge)
    except (ImportError, AttributeError) as error:
        raise BadSetting(f"HOLDFAST_CHALLENGE: {settings.challenge} cannot be imported: {error}.") from None
    challenger: Challenger = hook(settings)
    return challenger
