"""From the outbox to the feed and to the deliveries: what the follower does with each fact."""

from uuid import UUID

from holdfast import facts
from holdfast.platform import jobs, outbox
from holdfast.platform.db import Database, load_queries
from holdfast.platform.ids import OrganizerId
from holdfast.platform.jobs import Job
from holdfast.platform.outbox import Followers
from holdfast.webhooks import feed
from holdfast.webhooks.delivering import enqueue

# Hinted on when an endpoint begins or ends to ask for something by name.
ASKED_TOPIC = "webhooks.asked"
SHOWS_KNOWN_MAX = 10_000
# There is one for each few claims: it is sent to those who ask for it by its name, and not kept in the feed.
BY_NAME_ONLY = frozenset({facts.AVAILABILITY_CHANGED})

sql = load_queries(__file__)


class Taker:
    """Keeps each fact for its organizer and makes its deliveries, in one transaction with the end of the job."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # A show never changes hands.
        self._organizers: dict[UUID, OrganizerId] = {}
        self._asking: frozenset[UUID] | None = None

    async def look(self) -> None:
        """Looks who asks for what by name. Raises Busy."""
        rows = await self._db.rows(sql.organizers_asking, facts.AVAILABILITY_CHANGED)
        self._asking = frozenset(row["organizer_id"] for row in rows)

    def is_asked(self) -> bool:
        """Whether anybody asks for what is sent by name only; yes until it was looked at."""
        return self._asking is None or bool(self._asking)

    async def take(self, job: Job, db: Database) -> None:
        """A handler for every kind of fact. A fact of no organizer is left."""
        fact = outbox.fact_of(job)
        organizer_id = await self._organizer_of(fact)
        by_name = fact.kind in BY_NAME_ONLY
        if organizer_id is None or (
            by_name and self._asking is not None and organizer_id not in self._asking
        ):
            return
        async with db.transaction() as tx:
            if await feed.store(tx, organizer_id, fact, show_id=fact.show_id, in_feed=not by_name):
                rows = await tx.rows(sql.deliveries_made, organizer_id, fact.id, fact.kind, by_name)
                await enqueue(tx, organizer_id, rows)
            await jobs.finish(tx, job)

    async def _organizer_of(self, fact: outbox.Fact) -> OrganizerId | None:
        said = fact.data.get("organizer_id")
        if said is not None:
            return OrganizerId(UUID(said))
        known = self._organizers.get(fact.show_id)
        if known is None:
            known = await self._db.value(sql.organizer_of_show, fact.show_id)
            if known is None:
                return None
            if len(self._organizers) >= SHOWS_KNOWN_MAX:
                del self._organizers[next(iter(self._organizers))]
            self._organizers[fact.show_id] = known
        return known


def follow(followers: Followers, taker: Taker) -> None:
    """Lets the taker have a job for every fact; of what must be asked for by name, only while somebody does."""
    for kind in facts.PAYLOADS:
        wanted = taker.is_asked if kind in BY_NAME_ONLY else None
        followers.follow(kind, "webhooks", taker.take, wanted=wanted)
