"""An organizer, and what delivers its facts to receivers on this machine."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from holdfast import accounts
from holdfast.engine import Engine
from holdfast.platform.ids import OrganizerId
from holdfast.platform.settings import Settings
from holdfast.webhooks.delivering import Deliverer


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Receivers of tests are on loopback."""
    return msgspec.structs.replace(settings, egress="any")


@pytest.fixture
async def house(engine: Engine) -> OrganizerId:
    """The organizer that there is."""
    member = await accounts.first_owner(engine.db)
    assert member is not None
    return member.organizer_id


@pytest.fixture
async def deliverer(engine: Engine) -> AsyncIterator[Deliverer]:
    made = Deliverer(engine.settings, engine.secrets)
    yield made
    await made.close()
