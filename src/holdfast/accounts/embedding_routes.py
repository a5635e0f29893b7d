"""Which sites may show an organizer's shows in a frame, over HTTP. `call.state` is the Engine."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from holdfast.accounts import embedding
from holdfast.accounts.access import Staff
from holdfast.accounts.audit import audit
from holdfast.accounts.embedding import ORIGIN_LENGTH_MAX, ORIGINS_MAX
from holdfast.platform.http import Call, Routes

Origin = Annotated[str, Meta(min_length=1, max_length=ORIGIN_LENGTH_MAX)]

routes = Routes("organizers")


class EmbedOriginsJson(msgspec.Struct, forbid_unknown_fields=True):
    """Sites that may show the organizer's shows in a frame, as `https://www.example.org`. None: nobody may."""

    origins: Annotated[list[Origin], Meta(max_length=ORIGINS_MAX)]


@routes.get("/v1/organizer/embed-origins", who=Staff("shows.read_all"), answers={200: EmbedOriginsJson})
async def read_embed_origins(call: Call[None]) -> EmbedOriginsJson:
    """Read which sites may show your shows in a frame."""
    return EmbedOriginsJson(await embedding.embed_origins(call.db, call.caller.organizer_id))


@routes.put(
    "/v1/organizer/embed-origins", who=Staff("organizer.write"), body=EmbedOriginsJson, answers={200: EmbedOriginsJson},
    example={"origins": ["https://www.example.org"]},
)  # fmt: skip
async def set_embed_origins(call: Call[EmbedOriginsJson]) -> EmbedOriginsJson:
    """Say which sites may show your shows in a frame; whoever is not named may not."""
    own = call.caller.organizer_id
    async with call.db.transaction() as tx:
        before = await embedding.embed_origins(tx, own)
        after = await embedding.set_embed_origins(tx, own, call.body.origins)
        tx.after_commit(partial(call.state.cache.forget, ("embed_origins", own)))
        await audit(
            tx, call, "organizer.framed", organizer_id=own, subject=own,
            before={"origins": before}, after={"origins": after},
        )  # fmt: skip
    return EmbedOriginsJson(after)
