"""Who is asking, and what they may do.

Owns organizers, people and members. A password is only ever stored as its argon2id hash; a token is believed only when
one of our own keys signed it and it has not expired; a permission reaches no further than the caller's own organizer,
and to a stranger another organizer's things look as if they did not exist. Announces nothing.
"""

from holdfast.accounts.access import (
    CLAIMANT,
    CUSTOMER,
    GRANTABLE,
    INSTALLATION,
    PERMISSIONS,
    SECURITY_SCHEMES,
    VISITOR,
    Access,
    Buyer,
    Caller,
    Permission,
    Staff,
    bearer,
    is_of_installation,
    permissions_of,
    permits,
    require,
)
from holdfast.accounts.audit import Note, audit
from holdfast.accounts.customers import (
    Account,
    CustomerNotFound,
    account_of,
    erase_account,
    prune_links,
    reseal_customers,
    retention,
    set_retention,
)
from holdfast.accounts.embedding import embed_origins
from holdfast.accounts.keys import KEYS_KNOWN_MAX, Keys, prune_keys
from holdfast.accounts.oidc import Oidc, opened_oidc
from holdfast.accounts.organizers import (
    SUSPENDED_SECONDS,
    SUSPENDED_TOPIC,
    edit_own,
    look_for_suspended,
    organizer_by_id,
)
from holdfast.accounts.people import (
    BadCredentials,
    Member,
    create_owner,
    first_owner,
    member,
    owner_addresses,
)
from holdfast.accounts.recovery import FORGOTTEN, answer_forgotten
from holdfast.accounts.second_factor import reseal_some as reseal_second_factors
from holdfast.accounts.sessions import ENDED_SECONDS, ENDED_TOPIC, Device, Sessions
from holdfast.accounts.signing_in import Reception, prune_people
from holdfast.accounts.tokens import AccessToken, Principal, Role
from holdfast.platform.routing import ANYONE

__all__ = [
    "ANYONE",
    "CLAIMANT",
    "CUSTOMER",
    "ENDED_SECONDS",
    "ENDED_TOPIC",
    "FORGOTTEN",
    "GRANTABLE",
    "INSTALLATION",
    "KEYS_KNOWN_MAX",
    "PERMISSIONS",
    "SECURITY_SCHEMES",
    "SUSPENDED_SECONDS",
    "SUSPENDED_TOPIC",
    "VISITOR",
    "Access",
    "AccessToken",
    "Account",
    "BadCredentials",
    "Buyer",
    "Caller",
    "CustomerNotFound",
    "Device",
    "Keys",
    "Member",
    "Note",
    "Oidc",
    "Permission",
    "Principal",
    "Reception",
    "Role",
    "Sessions",
    "Staff",
    "account_of",
    "answer_forgotten",
    "audit",
    "bearer",
    "create_owner",
    "edit_own",
    "embed_origins",
    "erase_account",
    "first_owner",
    "is_of_installation",
    "look_for_suspended",
    "member",
    "opened_oidc",
    "organizer_by_id",
    "owner_addresses",
    "permissions_of",
    "permits",
    "prune_keys",
    "prune_links",
    "prune_people",
    "require",
    "reseal_customers",
    "reseal_second_factors",
    "retention",
    "set_retention",
]
