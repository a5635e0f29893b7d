"""Who is asking, and what they may do.

Owns organizers, people and members. A password is only ever stored as its argon2id hash; a token is believed only when
one of our own keys signed it and it has not expired; a permission reaches no further than the caller's own organizer,
and to a stranger another organizer's things look as if they did not exist. Announces nothing.
"""

from holdfast.accounts.access import (
    PERMISSIONS,
    SECURITY_SCHEMES,
    VISITOR,
    Access,
    Buyer,
    Caller,
    Permission,
    Staff,
    bearer,
    permits,
    require,
)
from holdfast.accounts.audit import Note, audit
from holdfast.accounts.people import (
    BadCredentials,
    Member,
    create_owner,
    first_owner,
    member,
    sign_in,
)
from holdfast.accounts.tokens import AccessToken, Principal, Role
from holdfast.platform.routing import ANYONE

__all__ = [
    "ANYONE",
    "PERMISSIONS",
    "SECURITY_SCHEMES",
    "VISITOR",
    "Access",
    "AccessToken",
    "BadCredentials",
    "Buyer",
    "Caller",
    "Member",
    "Note",
    "Permission",
    "Principal",
    "Role",
    "Staff",
    "audit",
    "bearer",
    "create_owner",
    "first_owner",
    "member",
    "permits",
    "require",
    "sign_in",
]
