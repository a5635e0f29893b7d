"""From the outbox to the feed and to the deliveries: what the follower does with facts."""

from collections.abc import Sequence
from uuid import UUID

from holdfast import facts
from holdfast.platform import jobs, outbox
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import OrganizerId
from holdfast.platform.jobs import Job
from holdfast.platform.outbox import Fact, Followers
from holdfast.webhooks import feed
from holdfast.webhooks.delivering import enqueue

# Hinted on when an endpoint begins or ends to ask for something by name.
ASKED_TOPIC = "webhooks.asked"
SHOWS_KNOWN_MAX = 10_000
# There is one for each few claims: it is sent to those who ask for it by its name, and not kept in the feed.
BY_NAME_ONLY = frozenset({facts.AVAILABILITY_CHANGED})

sql = load_queries(__file__)


class Taker:
    """Keeps facts for their organizer and makes their deliveries, in one transaction with the end of the job."""

    def __init__(self, db: Database) -> None:
        self._db = db
        # A show never changes hands.
        self._organizers: dict[UUID, OrganizerId] = {}
        self._asking: frozenset[UUID] | None = None

    async def look(self) -> None:
        """Looks who asks for what by name. Raises Busy."""
        rows = await self._db.rows(sql.organizers_asking, facts.AVAILABILITY_CHANGED)
        self._asking = frozenset(row["organizer_id"] for row in rows)

    def wants(self, kind: str) -> bool:
        """Whether facts of this kind are to come; of what is sent by name only, while anybody asks for it, or it is not known."""
        return kind not in BY_NAME_ONLY or self._asking is None or bool(self._asking)

    async def take(self, job: Job, db: Database) -> None:
        """The handler of facts of every kind. A fact of no organizer is left."""
        found: dict[OrganizerId, list[Fact]] = {}
        for fact in (taken := outbox.facts_of(job)):
            organizer_id = await self._organizer_of(fact)
            if organizer_id is not None and (fact.kind not in BY_NAME_ONLY or self._asks(organizer_id)):
                found.setdefault(organizer_id, []).append(fact)
        async with db.transaction() as tx:
            for organizer_id, theirs in found.items():
                await self._keep(tx, organizer_id, taken[0].show_id, theirs)
            await jobs.finish(tx, job)

    async def _keep(
        self, tx: Transaction, organizer_id: OrganizerId, show_id: UUID, theirs: Sequence[Fact]
    ) -> None:
        new = await feed.store(tx, organizer_id, show_id, theirs, not_in_feed=BY_NAME_ONLY)
        kept = [(fact.id, fact.kind, fact.kind in BY_NAME_ONLY) for fact in theirs if fact.id in new]
        if kept:
            columns = map(list, zip(*kept, strict=True))
            await enqueue(tx, organizer_id, await tx.rows(sql.deliveries_made, organizer_id, *columns))

    def _asks(self, organizer_id: OrganizerId) -> bool:
        return self._asking is None or organizer_id in self._asking

    async def _organizer_of(self, fact: Fact) -> OrganizerId | None:
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
    """Lets the taker have every fact; of what must be asked for by name, only while somebody does."""
    followers.gather(facts.PAYLOADS, "webhooks", taker.take, wanted=taker.wants)
