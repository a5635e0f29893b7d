"""Which sites may show a show in a frame, over HTTP, for whoever makes the page in it. `call.state` is the Engine."""

from typing import Any

import msgspec

from holdfast import accounts
from holdfast.accounts import VISITOR
from holdfast.booking.show_routes import visible
from holdfast.catalog import ShowNotFound
from holdfast.platform.http import Call, Routes

# In processes that did not hear of a change, so long.
EMBED_SECONDS = 5.0

routes = Routes("shows", missing={"show_id": ShowNotFound})


class EmbeddingJson(msgspec.Struct):
    """Origins for `frame-ancestors` (CSP Level 3). None: no site may."""

    origins: list[str]


@routes.get(
    "/v1/shows/{show_id}/embedding", who=VISITOR, answers={200: EmbeddingJson}, refusals=(ShowNotFound,)
)  # fmt: skip
async def read_embedding(call: Call[None]) -> EmbeddingJson:
    """Read which sites may show this show in a frame."""
    engine: Any = call.state
    whose = (await visible(call)).show.organizer_id
    # As the engine, because it is kept for whoever asks next.
    origins = await engine.cache.get(
        ("embed_origins", whose), EMBED_SECONDS, lambda: accounts.embed_origins(engine.db, whose)
    )
    return EmbeddingJson(origins)
