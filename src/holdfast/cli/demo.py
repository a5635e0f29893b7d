"""Shows to look at and to try things on: the demonstration that `up` begins with, and more of them by `seed`."""

from datetime import UTC, datetime, time, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from holdfast import booking, catalog
from holdfast.accounts import Member, edit_own, first_owner
from holdfast.booking import Asker, BlockSpec, ClaimRequest, Office
from holdfast.catalog import House, SeatedAreaSpec, ShowSpec, StandingAreaSpec, TierSpec
from holdfast.cli.installation import InstallationError
from holdfast.platform import clock
from holdfast.platform.broadcast import Broadcast
from holdfast.platform.cache import Cache
from holdfast.platform.db import Database
from holdfast.platform.ids import OrganizerId, ShowId
from holdfast.platform.secret import Secrets, generate
from holdfast.platform.settings import Settings

ZONE = "Europe/Berlin"
COLOUR = "#8b1e3f"
DOORS = timedelta(minutes=45)
# What is told of each show.
ABOUT = {
    "Hamlet": "A prince hears from a ghost what everybody else would rather not know.\n\n"
    "William Shakespeare's tragedy in five acts, with one interval after the play within the play. Three hours.",
    "The Tempest": "A ship, an island, and somebody who has waited twelve years for exactly this weather.\n\n"
    "Two hours and a quarter, without an interval.",
    "A Midsummer Night's Dream": "Four lovers, one wood, and a night in which nobody stays who they were.\n\n"
    "For everybody from eight years on.",
    "Open Rehearsal": "See how it is made: the company works on the second act, and talks about it afterwards.\n\n"
    "Free of charge. Please come on time, for the doors stay shut while the rehearsal runs.",
}
ACCESS_NOTE = "Step-free from the square. Four places for wheelchairs with a seat beside each, at both ends of row R of the stalls."
HISTORY_AT_ONCE = 10_000
HISTORY_PER_SHOW = 400_000
ROW_SEATS = 50


async def seed_demo(database: Database, settings: Settings, owner: Member) -> None:
    """Two venues with their layouts, and six shows.

    On sale, opening in two minutes, later, free and nearly full, paused, draft.
    """
    office = _office(database, settings)
    house = catalog.demo_theatre()
    async with database.transaction() as tx:
        await edit_own(tx, owner.organizer_id, name=None, second_factor_required=None, colour=COLOUR)
        at = catalog.VenueSpec(house.name, ZONE, "Theaterplatz 1\n10115 Berlin", "Berlin")
        venue = await catalog.create_venue(tx, owner.organizer_id, at)
        spec = catalog.LayoutSpec("Main house", house.areas, house.focal)
        layout = await catalog.create_layout(tx, owner.organizer_id, venue.venue_id, spec)
        at = catalog.VenueSpec("Holdfast Studio", ZONE, "Am Kanal 7\n14467 Potsdam", "Potsdam")
        studio = await catalog.create_venue(tx, owner.organizer_id, at)
        rows = [catalog.RowSpec(label, seats=10, gap_after=[5]) for label in "ABCDEF"]
        spec = catalog.LayoutSpec("Studio", [SeatedAreaSpec("Studio", rows)])
        benches = await catalog.create_layout(tx, owner.organizer_id, studio.venue_id, spec)
    now = clock.now()

    def evening(days: int, hour: int = 19) -> datetime:
        return datetime.combine((now + timedelta(days=days)).date(), time(hour, 30), UTC)

    def in_house(name: str, days: int, **more: object) -> ShowSpec:
        return ShowSpec(
            name=name, start_time=evening(days), layout_id=layout.layout_id, tiers=house.tiers,
            doors_at=evening(days) - DOORS, description=ABOUT.get(name, ""), access_note=ACCESS_NOTE,
            age_note="From 12 years on.", **more,  # type: ignore[arg-type]
        )  # fmt: skip

    on_sale = await _open(office, owner.organizer_id, in_house("Hamlet", 10, orphans="refuse"), house)
    await _sell(office, on_sale, 60, [2, 4, 3], area="Stalls", tier="Adult")
    await _open(
        office,
        owner.organizer_id,
        in_house("The Tempest", 24, sale_opens_at=now + timedelta(minutes=2)),
        house,
    )
    await _open(
        office, owner.organizer_id,
        in_house("A Midsummer Night's Dream", 45, status="scheduled", sale_opens_at=now + timedelta(days=3)), house,
    )  # fmt: skip
    chamber = ShowSpec(
        name="Open Rehearsal", start_time=evening(5, 18), layout_id=benches.layout_id, hold_seconds=300,
        doors_at=evening(5, 18) - DOORS, description=ABOUT["Open Rehearsal"],
        access_note="Two steps at the door; call us, and we bring the ramp.",
    )  # fmt: skip
    await _sell(office, await _open(office, owner.organizer_id, chamber), 24, [2])
    paused = await _open(office, owner.organizer_id, in_house("Twelfth Night", 17), house)
    async with database.transaction() as tx:
        edit = catalog.ShowEdit(status="paused")
        await booking.edit_show(tx, office, owner.organizer_id, paused, edit, None)
    await _open(office, owner.organizer_id, in_house("King Lear", 60, status="draft"), house)


async def seed_more(
    database: Database,
    settings: Settings,
    out: Console,
    *,
    shows: int,
    seats: int,
    bookings: int,
    template: str,
) -> None:
    """Makes `shows` shows of about `seats` seats by the template, and `bookings` old bookings; says what it made.

    Raises InstallationError when there is nobody whose shows they could be.
    """
    owner = await first_owner(database)
    if owner is None:
        raise InstallationError("There is no organizer yet: `holdfast up` makes the first.")
    office = _office(database, settings)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=out,
    ) as progress:
        series = _series(template, shows, seats)[:shows]
        task = progress.add_task("shows", total=len(series))
        for spec in series:
            show_id = await _open(office, owner.organizer_id, spec)
            progress.advance(task)
        out.print(f"{len(series)} made; the last is {series[-1].name}, {show_id}.")
        if bookings:
            await _history(database, office, owner.organizer_id, bookings, progress)


def _series(template: str, shows: int, seats: int) -> "list[ShowSpec]":
    start = datetime.combine((clock.now() + timedelta(days=30)).date(), time(19, 30), UTC)
    match template:
        case "theatre":
            rows = min(48, max(1, round(seats / 24)))
            return [
                catalog.theatre(
                    f"Theatre {i + 1}", start + timedelta(days=i), rows=rows, seats=24, amount=3500
                )
                for i in range(shows)
            ]
        case "bus":
            departures = [start + timedelta(hours=i) for i in range(min(shows, 1000))]
            return catalog.bus_trips(
                "Berlin to Hamburg", departures, lines=min(40, max(1, seats // 4)), amount=1900
            )
        case "appointments":
            first = start.date()
            return catalog.appointments(
                "Consultation",
                first,
                first + timedelta(days=min(365, shows // 10 + 7)),
                time(9),
                time(17),
                30,
                ZONE,
            )
    areas: list[catalog.AreaSpec] = [_hall(seats)]
    return [
        ShowSpec(
            name=f"Hall of {seats} {i + 1}", start_time=start + timedelta(days=i), areas=areas,
            tiers=[TierSpec("Adult", "Hall", 3500)],
        )
        for i in range(shows)
    ]  # fmt: skip


def _hall(seats: int) -> SeatedAreaSpec:
    rows = [min(ROW_SEATS, seats - first) for first in range(0, seats, ROW_SEATS)]
    if len(rows) > 2000:
        rows = [min(100, seats - first) for first in range(0, seats, 100)]
    return SeatedAreaSpec("Hall", [catalog.RowSpec(str(i + 1), seats=count) for i, count in enumerate(rows)])


async def _history(
    database: Database, office: Office, organizer_id: OrganizerId, bookings: int, progress: Progress
) -> None:
    task = progress.add_task("old bookings", total=bookings)
    left = bookings
    while left:
        count = min(left, HISTORY_PER_SHOW)
        past = ShowSpec(
            name="A past show", start_time=clock.now() - timedelta(days=20), status="on_sale",
            areas=[StandingAreaSpec("Floor", count * 2)], tiers=[TierSpec("Standing", "Floor", 3000)],
        )  # fmt: skip
        show_id = await _open(office, organizer_id, past)
        show = await catalog.show_by_id(database, show_id)
        assert show is not None
        for first in range(0, count, HISTORY_AT_ONCE):
            piece = min(HISTORY_AT_ONCE, count - first)
            async with database.transaction() as tx:
                await booking.write_history(tx, show, piece)
            progress.advance(task, piece)
        left -= count


async def _open(
    office: Office, organizer_id: OrganizerId, spec: ShowSpec, house: House | None = None
) -> ShowId:
    async with office.db.transaction() as tx:
        show, _ = await booking.open_show(tx, office, organizer_id, spec)
    if house is not None:
        view = await office.views.get(show.show_id)
        async with office.db.transaction() as tx:
            await booking.block(tx, office, view, BlockSpec("House seats", seats=house.house_seats), None)
    return show.show_id


async def _sell(
    office: Office,
    show_id: ShowId,
    parties: int,
    sizes: list[int],
    *,
    tier: str | None = None,
    area: str | None = None,
) -> None:
    """Some parties buy the best seats, one after another."""
    for i in range(parties):
        request = ClaimRequest(best_available=sizes[i % len(sizes)], area=area, tier=tier)
        claimed = await booking.claim(office, show_id, request, Asker())
        async with office.db.transaction() as tx:
            await booking.confirm(tx, show_id, claimed.booking.booking_id, settled=True)


def _office(database: Database, settings: Settings) -> Office:
    # Nothing that is sold here has a buyer, so any secret will do where there is none.
    secrets = Secrets(settings.secret_key or generate())
    return Office(database, Broadcast(database), Cache(), settings, secrets)
