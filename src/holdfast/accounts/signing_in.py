"""Signing in: by password and second factor, with tries that are counted, and what comes of it: a session.

Who tries passwords is slowed down, and whoever's account it is must not be locked out by that. So failures are counted
three times: by account and address together, tight; by address over all accounts; and by account over all addresses.
When the last is used up, the account still opens from the networks where its person signed in lately, and nowhere else.
A try that is refused costs no hash, and a success counts nothing.
"""

from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from holdfast.accounts import invitations, recovery, second_factor, sessions
from holdfast.accounts.access import Access
from holdfast.accounts.invitations import Invited
from holdfast.accounts.oidc import Identity
from holdfast.accounts.passwords import is_outdated
from holdfast.accounts.people import BadCredentials, normal_email
from holdfast.accounts.sessions import Device, Kind, Opened, SessionShown
from holdfast.accounts.tokens import AccessToken, Principal
from holdfast.platform.db import Database, Record, Transaction, load_queries
from holdfast.platform.errors import Forbidden, Unauthenticated
from holdfast.platform.ids import OrganizerId, PersonId
from holdfast.platform.limits import Limits, Profile, RateLimited, by_address
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
class Proof:
    """Who somebody has proved to be; `strong`: by more than a password."""

    person_id: PersonId
    strong: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session by another provider, and the invitations that were accepted by it."""

    opened: Opened
    joined: list[Invited]


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
        BadCode; NotAMember; Invalid for an address that cannot be one; RateLimited; Busy.
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
        """A session for whoever gave the proof. Raises NotAMember and SecondFactorRequired."""
        person = await tx.row(sql.person, proof.person_id)
        assert person is not None
        for row in await tx.rows(sql.memberships, proof.person_id):
            if organizer_id in (None, row["organizer_id"]):
                break
        else:
            raise NotAMember
        if row["second_factor_required"] and not proof.strong:
            raise SecondFactorRequired
        principal = Principal(
            proof.person_id, OrganizerId(row["organizer_id"]), row["role"], admin=person["admin"]
        )
        return await sessions.open_session(tx, self.settings, principal, kind, device, strong=proof.strong)

    async def prove(self, *, email: str, password: str, code: str | None, device: Device) -> Proof:
        """The person with this address and password and, where they have one, second factor. Raises as `sign_in`."""
        email = normal_email(email)
        row = await self.check_password(email, password, device)
        person_id = PersonId(row["person_id"])
        try:
            return Proof(person_id, await second_factor.prove(self.db, self.secrets, person_id, code))
        except second_factor.BadCode:
            await self._failed(email, device)
            raise

    async def check_password(self, email: str, password: str, device: Device) -> Record:
        """The person with this address and password, whom a second factor is not asked for.

        Hashes the password anew where it was hashed at lower costs. Raises BadCredentials, RateLimited, Busy.
        """
        await self._admit(email, device)
        row = await self.db.row(sql.person_by_email, email)
        known = None if row is None else row["password_hash"]
        if not await self.access.passwords.match(password, known):
            await self._failed(email, device)
            raise BadCredentials
        assert row is not None and known is not None
        if is_outdated(known):
            anew = await self.access.passwords.hash(password)
            await self.db.execute(sql.set_password, row["person_id"], anew, known)
        return row

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
        return Arrival(opened, joined)

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
        """Counts a token of a letter that was none. Raises RateLimited."""
        await self._limits.take("sign_in_address", by_address(device.address))

    async def _admit(self, email: str, device: Device) -> None:
        address = by_address(device.address)
        await self._limits.check("sign_in_address", address)
        await self._limits.check("sign_in_pair", f"{address} {email}")
        try:
            await self._limits.check("sign_in_account", email)
        except RateLimited:
            if not await sessions.signed_in_from(self.db, email, device):
                raise

    async def _failed(self, email: str, device: Device) -> None:
        # Those that come side by side may overrun a limit, by as many as passwords are checked at once.
        address = by_address(device.address)
        counted: tuple[tuple[Profile, str], ...] = (
            ("sign_in_address", address),
            ("sign_in_pair", f"{address} {email}"),
            ("sign_in_account", email),
        )
        for profile, who in counted:
            with suppress(RateLimited):
                await self._limits.take(profile, who)


async def prune_people(db: Database, settings: Settings) -> int:
    """Forgets sessions that ended long ago, and links that nobody used in time; says how many. Raises Busy."""
    return (
        await sessions.prune_sessions(db, settings)
        + await invitations.prune_invitations(db)
        + await recovery.prune_resets(db)
    )
