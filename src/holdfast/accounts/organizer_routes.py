"""Organizers over HTTP: all of them for whoever looks after the installation, and each for its own owner.

`call.state` is the Engine.
"""

from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from holdfast.accounts import invitations, organizers
from holdfast.accounts.access import Staff
from holdfast.accounts.audit import audit
from holdfast.accounts.organizers import NAME_LENGTH_MAX, Organizer, OrganizerNotFound, OwnOrganizer
from holdfast.accounts.people import EMAIL_LENGTH_MAX
from holdfast.platform import clock
from holdfast.platform.db import Transaction
from holdfast.platform.http import Answer, Call, Routes, Timestamp, created
from holdfast.platform.ids import OrganizerId
from holdfast.platform.pages import PageQuery, id_in, page_of

# Everybody who works for an organizer may know its rules.
READ_OWN = Staff("shows.read_all")

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX)]
Colour = Annotated[
    str, Meta(pattern="^(#[0-9a-fA-F]{6})?$", max_length=7, description="As #rrggbb, or empty for none.")
]

routes = Routes("organizers", missing={"organizer_id": OrganizerNotFound})


class OrganizerSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A new organizer, and who will own it: they get a link by mail."""

    name: Name
    owner_email: Annotated[str, Meta(min_length=3, max_length=EMAIL_LENGTH_MAX)]


class OrganizerEdit(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; what is left out stays. A suspended organizer's people and keys get in nowhere."""

    name: Name | None = None
    suspended: bool | None = None


class OwnEdit(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; what is left out stays, and `"colour": ""` takes it away.

    `second_factor_required` holds for everybody who works here; `colour` is that of the organizer's pages in the shop.
    """

    name: Name | None = None
    second_factor_required: bool | None = None
    colour: Colour | None = None


class OrganizerShownJson(msgspec.Struct):
    """An organizer and its rules."""

    id: UUID
    name: str
    colour: str | None
    second_factor_required: bool
    created_at: Timestamp
    suspended_at: Timestamp | None


class OrganizersJson(msgspec.Struct):
    organizers: list[OrganizerShownJson]
    next: str | None


@routes.post(
    "/v1/organizers", who=Staff("organizers.write"), body=OrganizerSpec, answers={201: OrganizerShownJson}, once=True,
    example={"name": "Opera in the Park", "owner_email": "director@example.org"},
)  # fmt: skip
async def create_organizer(call: Call[OrganizerSpec], tx: Transaction) -> Answer:
    """Make an organizer, and invite its owner."""
    engine, spec = call.state, call.body
    made = await organizers.add_organizer(tx, spec.name)
    owner_to_be = msgspec.structs.replace(call.caller, organizer_id=made.organizer_id, role="owner")
    await invitations.invite(
        tx, engine.secrets, owner_to_be, email=spec.owner_email, role="owner", address=engine.settings.address
    )
    await _audit(tx, call, "organizer.created", made)
    return created(_json(made), f"/v1/organizers/{made.organizer_id}")


@routes.get(
    "/v1/organizers", who=Staff("organizers.read"), query=PageQuery, answers={200: OrganizersJson}
)  # fmt: skip
async def list_organizers(call: Call[None]) -> OrganizersJson:
    """List all organizers, oldest first."""
    query = call.query
    found = await organizers.list_organizers(call.db, id_in(query.cursor) or UUID(int=0), query.limit + 1)
    page, following = page_of(found, query.limit, lambda each: each.organizer_id.hex)
    return OrganizersJson([_json(each) for each in page], following)


@routes.get(
    "/v1/organizers/{organizer_id}", who=Staff("organizers.read"), answers={200: OrganizerShownJson}
)  # fmt: skip
async def read_organizer(call: Call[None]) -> OrganizerShownJson:
    """Read an organizer."""
    return _json(await organizers.organizer_by_id(call.db, OrganizerId(call.path["organizer_id"])))


@routes.patch(
    "/v1/organizers/{organizer_id}", who=Staff("organizers.write"), body=OrganizerEdit,
    answers={200: OrganizerShownJson}, refusals=(OwnOrganizer,),
    example={"name": "Opera in the Park", "suspended": False},
)  # fmt: skip
async def edit_organizer(call: Call[OrganizerEdit]) -> OrganizerShownJson:
    """Rename an organizer, suspend it, or let it in again."""
    spec, own = call.body, call.caller.organizer_id
    async with call.db.transaction() as tx:
        organizer_id = OrganizerId(call.path["organizer_id"])
        edited = await organizers.edit_organizer(
            tx, organizer_id, name=spec.name, suspended=spec.suspended, by=own
        )
        _shown_anew(tx, call)
        if spec.name is not None:
            await _audit(tx, call, "organizer.renamed", edited)
        if spec.suspended is not None:
            await _audit(tx, call, "organizer.suspended" if spec.suspended else "organizer.resumed", edited)
    return _json(edited)


@routes.get("/v1/organizer", who=READ_OWN, answers={200: OrganizerShownJson})
async def read_own_organizer(call: Call[None]) -> OrganizerShownJson:
    """Read the organizer that you act for."""
    return _json(await organizers.organizer_by_id(call.db, call.caller.organizer_id))


@routes.patch(
    "/v1/organizer", who=Staff("organizer.write"), body=OwnEdit, answers={200: OrganizerShownJson},
    example={"name": "Opera in the Park", "second_factor_required": True, "colour": "#8b1e3f"},
)  # fmt: skip
async def edit_own_organizer(call: Call[OwnEdit]) -> OrganizerShownJson:
    """Edit the organizer that you act for."""
    spec, own = call.body, call.caller.organizer_id
    async with call.db.transaction() as tx:
        before = await organizers.organizer_by_id(tx, own)
        edited = await organizers.edit_own(
            tx, own, name=spec.name, second_factor_required=spec.second_factor_required, colour=spec.colour
        )
        _shown_anew(tx, call)
        after = _rules(edited)
        if edited.colour != before.colour:
            after["fields"] = ["colour"]
        await audit(
            tx, call, "organizer.edited", organizer_id=own, subject=own, before=_rules(before), after=after
        )
    return _json(edited)


async def _audit(tx: Transaction, call: Call[Any], action: str, organizer: Organizer) -> None:
    """What an admin does stands in the audit of the admin's own organizer."""
    await audit(
        tx, call, action, organizer_id=call.caller.organizer_id, subject=organizer.organizer_id
    )  # fmt: skip


def _shown_anew(tx: Transaction, call: Call[Any]) -> None:
    """Shows are shown with the organizer's name and colour, and what is known of shows is kept below this."""
    tx.after_commit(partial(call.state.cache.forget, "shows"))


def _rules(organizer: Organizer) -> dict[str, Any]:
    return {"second_factor_required": organizer.second_factor_required}


def _json(organizer: Organizer) -> OrganizerShownJson:
    return OrganizerShownJson(
        id=organizer.organizer_id,
        name=organizer.name,
        colour=organizer.colour,
        second_factor_required=organizer.second_factor_required,
        created_at=clock.rfc3339(organizer.created_at),
        suspended_at=clock.rfc3339(organizer.suspended_at) if organizer.suspended_at else None,
    )
