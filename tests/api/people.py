"""Callers for tests: members of the test house in any role, and of other houses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from holdfast import accounts
from holdfast.accounts import Principal, Role
from holdfast.engine import Engine
from holdfast.platform.ids import OrganizerId, PersonId, new_id
from tests.conftest import client_of


async def another_house(engine: Engine) -> OrganizerId:
    """A second organizer."""
    organizer_id = OrganizerId(new_id())
    await engine.db.execute(
        "insert into organizers (organizer_id, name) values ($1, 'Another House')", organizer_id
    )
    return organizer_id


@asynccontextmanager
async def signed_in(
    engine: Engine, role: Role = "owner", organizer_id: OrganizerId | None = None, *, admin: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with the token of a new person in this role, by default of the test house; `admin`: of the installation, too."""
    if organizer_id is None:
        owner = await accounts.first_owner(engine.db)
        assert owner is not None
        organizer_id = owner.organizer_id
    token = engine.access.tokens.issue(Principal(PersonId(new_id()), organizer_id, role, admin=admin))
    async with client_of(engine, Authorization=f"Bearer {token.text}") as opened:
        yield opened
