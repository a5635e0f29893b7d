"""The challenge in front of claims, where the setting `challenge` asks for one. `call.state` is the Engine."""

from typing import Any

from holdfast import booking
from holdfast.accounts import Principal
from holdfast.catalog import ShowNotFound
from holdfast.platform.calls import Call
from holdfast.platform.challenge import Challenge, ChallengeFailed, ChallengeNeeded
from holdfast.platform.http import ANYONE, HeaderParameter, Routes
from holdfast.platform.ids import ShowId

CHALLENGE_ANSWER = HeaderParameter(
    "Challenge-Answer",
    "The answer to a challenge, where claims need one: `<seed>.<nonce>`. Staff and API keys need none.",
)
CHALLENGE_REFUSALS = (ChallengeNeeded, ChallengeFailed)

routes = Routes("bookings", missing={"show_id": ShowNotFound})


@routes.get("/v1/shows/{show_id}/challenge", who=ANYONE, answers={200: Challenge}, refusals=(ShowNotFound,))
async def read_challenge(call: Call[None]) -> Challenge:
    """Get a challenge to solve before a claim.

    `work` asks for a nonce, so that the SHA-256 of `<seed>.<nonce>` begins with `bits` zero bits; send that text with the
    claim as `Challenge-Answer`. A claim without an answer is refused with a fresh challenge, so this can be left out.
    """
    engine, show_id = call.state, ShowId(call.path["show_id"])
    await booking.on_offer(engine.office, show_id)
    if engine.challenger is None:
        return Challenge("none")
    posed: Challenge = engine.challenger.pose(call, show_id.bytes)
    return posed


async def prove(call: Call[Any], show_id: ShowId) -> None:
    """Raises ChallengeNeeded and ChallengeFailed for callers without a name, where claims need an answer."""
    challenger, caller = call.state.challenger, call.caller
    if challenger is not None and not isinstance(getattr(caller, "principal", caller), Principal):
        await challenger.verify(call, show_id.bytes)
