"""Signing in: by password and second factor, with tries that are counted, and what comes of it: a session.

Who tries passwords is slowed down, and whoever's account it is must not be locked out by that. So failures are counted
three times: by account and address together, tight; by address over all accounts; and by account over all addresses.
When the last is used up, the account still opens from the networks where its person signed in lately, each of which has
as much again for itself, and nowhere else. A try that is refused costs no hash, and a success counts nothing.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from holdfast.accounts import invitations, recovery, second_factor, sessions
from holdfast.accounts.access import Access, OrganizerSuspended
from holdfast.accounts.invitations import Invited
from holdfast.accounts.oidc import Identity
from holdfast.accounts.passwords import is_outdated
from holdfast.accounts.people import BadCredentials, normal_email
from holdfast.accounts.sessions import Device, Kind, Opened, SessionShown
from holdfast.accounts.tokens import AccessToken, Principal
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.errors import Forbidden, Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId
from holdfast.platform.limits import Limits, RateLimited, by_address
from holdfast.platform.secret import Secrets
from holdfast.platform.settings import Settings

sql = load_queries(__file__)


class NotAMember(Forbidden):
    """The password is right, and this person does not work for that organizer, or for none."""

    code = "not_a_member"
    title = "You are not a member of this organizer."


class SecondFactorRequired(Forbidden):
    """The organizer asks for more than a password: make a second factor first, by `POST /v1/auth/second-factor`."""

    code = "second_factor_required"
    title = "This organizer asks for a second factor, and you have none yet."


@dataclass(frozen=True, slots=True)
class Known:
    """Whose password was right, and its hash, by which one sees whether it has been changed since."""

    person_id: PersonId
    email: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Who somebody has proved to be; `strong`: by more than a password. `password_hash` is of the one that was shown."""

    person_id: PersonId
    strong: bool
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session by another provider, the invitations that were accepted by it, and whether it was the first one."""

    opened: Opened
    joined: list[Invited]
    is_first: bool


class Reception:
    """Where people come in. It sees the whole database, since nobody belongs to one organizer before they are known."""

    def __init__(
        self, db: Database, settings: Settings, secrets: Secrets, access: Access, limits: Limits
    ) -> None:
        self.db = db
        self.settings = settings
        self.secrets = secrets
        self.access = access
        self._limits = limits

    async def sign_in(
        self,
        *,
        email: str,
        password: str,
        device: Device,
        kind: Kind = "api",
        code: str | None = None,
        organizer_id: OrganizerId | None = None,
    ) -> Opened:
        """A session for the person with this address and password, in this organizer or the one they joined first.

        Raises BadCredentials, in the same time whether the address or the password is wrong; SecondFactorNeeded and
        BadCode; NotAMember; SecondFactorRequired; OrganizerSuspended; Invalid for an address that cannot be one; RateLimited; Busy.
        """
        proof = await self.prove(email=email, password=password, code=code, device=device)
        async with self.db.transaction() as tx:
            return await self.let_in(tx, proof, kind, device, organizer_id=organizer_id)

    async def let_in(
        self,
        tx: Transaction,
        proof: Proof,
        kind: Kind,
        device: Device,
        *,
        organizer_id: OrganizerId | None = None,
    ) -> Opened:
        """A session for whoever gave the proof, in this organizer or the first that is not suspended.

        Whatever would end the session waits for it, or it for that: the person is a member, and the password the one
        that was shown, when the session is made. Raises BadCredentials where it is another by now, NotAMember,
        OrganizerSuspended and SecondFactorRequired.
        """
        wanted = [
            each
            for each in await tx.rows(sql.memberships, proof.person_id)
            if organizer_id in (None, each["organizer_id"])
        ]
        wanted.sort(key=lambda each: bool(each["suspended"]))
        row = await tx.row(sql.entering, wanted[0]["organizer_id"], proof.person_id) if wanted else None
        if row is None:
            raise NotAMember
        if proof.password_hash not in (None, row["password_hash"]):
            raise BadCredentials
        if row["suspended"]:
            raise OrganizerSuspended
        if row["second_factor_required"] and not proof.strong:
            raise SecondFactorRequired
        principal = Principal(
            proof.person_id, OrganizerId(row["organizer_id"]), row["role"], admin=row["admin"]
        )
        return await sessions.open_session(tx, self.settings, principal, kind, device, strong=proof.strong)

    async def prove(self, *, email: str, password: str, code: str | None, device: Device) -> Proof:
        """The person with this address and password and, where they have one, second factor. Raises as `sign_in`."""
        email = normal_email(email)
        async with self._counted(email, device):
            known = await self._match(email, password)
            strong = await second_factor.prove(self.db, self.secrets, known.person_id, code)
        return Proof(known.person_id, strong, known.password_hash)

    async def check_password(self, email: str, password: str, device: Device) -> Known:
        """The person with this address and password, whom a second factor is not asked for.

        Hashes the password anew where it was hashed at lower costs. Raises BadCredentials, RateLimited, Busy.
        """
        email = normal_email(email)
        async with self._counted(email, device):
            return await self._match(email, password)

    async def organizers(
        self, person_id: PersonId, tx: Transaction | None = None
    ) -> list[tuple[OrganizerId, str]]:
        """The organizers that a person works for, by id and name, the one joined first in front."""
        rows = await (tx or self.db).rows(sql.memberships, person_id)
        return [(OrganizerId(row["organizer_id"]), row["organizer_name"]) for row in rows]

    async def has_second_factor(self, person_id: PersonId) -> bool:
        """Whether this person signs in with a code."""
        return await second_factor.is_on(self.db, person_id)

    async def email_of(self, principal: Principal) -> str:
        """The address of the person who acts. Raises Unauthenticated when there is none any more."""
        row = await self.db.row(sql.person, principal.person_id)
        if row is None:
            raise Unauthenticated
        email: str = row["email"]
        return email

    async def welcome(self, tx: Transaction, identity: Identity, device: Device) -> Arrival:
        """A session of the console for whoever another provider sends, in the organizer that they joined first.

        It is the person whom this subject was before; else the person with this address, who is the subject's from
        now on; else whoever is invited under the address, and joins. Raises NotAMember for all others, and for an
        address whose person the provider knows by another subject.
        """
        person_id: PersonId | None = await tx.value(sql.person_of_identity, identity.issuer, identity.subject)
        is_first = person_id is None
        joined: list[Invited] = []
        if person_id is None:
            email = normal_email(identity.email)
            row = await tx.row(sql.person_by_email, email)
            person_id = None if row is None else PersonId(row["person_id"])
            if person_id is None:
                joined = await invitations.to_address(tx, email)
                for invited in joined:
                    person_id = await invitations.accept(tx, invited, person_id=person_id)
            if person_id is None or not await tx.execute(
                sql.add_identity, identity.issuer, identity.subject, person_id
            ):
                raise NotAMember
        opened = await self.let_in(tx, Proof(person_id, strong=True), "console", device)
        return Arrival(opened, joined, is_first)

    async def sessions(self, principal: Principal) -> list[SessionShown]:
        """Where the person who acts is signed in, in all their organizers."""
        assert principal.person_id is not None
        return await sessions.live(self.db, self.settings, principal.person_id)

    async def end(self, tx: Transaction, principal: Principal, session_id: UUID) -> None:
        """Ends a session of the person who acts. Raises SessionNotFound."""
        assert principal.person_id is not None
        await sessions.end(tx, principal.person_id, session_id)

    async def renew(self, refresh_token: str) -> Opened:
        """A new secret in place of the refresh token. Raises RefreshRefused; see sessions.renew."""
        return await sessions.renew(self.db, self.settings, refresh_token)

    async def end_by_token(self, refresh_token: str) -> None:
        """Ends the session of a refresh token, if it has one."""
        await sessions.revoke(self.db, self.settings, refresh_token)

    def access_token(self, opened: Opened) -> AccessToken:
        """An access token of this session."""
        return self.access.tokens.issue(opened.principal)

    async def count_letter(self, email: str, device: Device) -> None:
        """Counts what anybody may have sent to an address. Raises RateLimited."""
        await self._limits.take("password_forgot", by_address(device.address))
        await self._limits.take("password_forgot", normal_email(email))

    async def count_guess(self, device: Device) -> None:
        """Counts a token of a letter, good or not. Raises RateLimited."""
        await self._limits.take("sign_in_address", by_address(device.address))

    async def _match(self, email: str, password: str) -> Known:
        row = await self.db.row(sql.person_by_email, email)
        password_hash = None if row is None else row["password_hash"]
        if not await self.access.passwords.match(password, password_hash):
            raise BadCredentials
        assert row is not None and password_hash is not None
        if is_outdated(password_hash):
            anew = await self.access.passwords.hash(password)
            if not await self.db.execute(sql.set_password, row["person_id"], anew, password_hash):
                # It was set by somebody else meanwhile, and is checked against what it is now.
                return await self._match(email, password)
            password_hash = anew
        return Known(PersonId(row["person_id"]), row["email"], password_hash)

    @asynccontextmanager
    async def _counted(self, email: str, device: Device) -> AsyncIterator[None]:
        # A try to get in, counted if it fails. Raises RateLimited.
        failures = (BadCredentials, second_factor.BadCode)
        address = by_address(device.address)
        trying = self._limits.trying
        async with AsyncExitStack() as tried:
            await tried.enter_async_context(trying("sign_in_address", address, *failures))
            await tried.enter_async_context(trying("sign_in_pair", f"{address} {email}", *failures))
            try:
                await tried.enter_async_context(trying("sign_in_account", email, *failures))
            except RateLimited:
                if not await sessions.signed_in_from(self.db, email, device):
                    raise
                # A network may be a whole provider's, so what may be tried from it has an end, too.
                network = f"{device.network} {email}"
                await tried.enter_async_context(trying("sign_in_account", network, *failures))
            yield


async def prune_people(db: Database, settings: Settings) -> int:
    """Forgets sessions that ended long ago, and links that nobody used in time; says how many. Raises Busy."""
    return (
        await sessions.prune_sessions(db, settings)
        + await invitations.prune_invitations(db)
        + await recovery.prune_resets(db)
    )
