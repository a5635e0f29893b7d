"""Which mailbox an e-mail address leads to, so that one buyer is not counted as many."""

from holdfast.platform.secret import Secrets

DIGEST_BYTES = 16

# Providers who state that what follows a plus sign leads to the same mailbox. For any other domain nothing is folded:
# there `a+b` may be somebody else, and whoever owns a domain has as many addresses as they like anyway.
_PLUS = frozenset(
    "gmail.com outlook.com hotmail.com live.com msn.com icloud.com me.com mac.com fastmail.com proton.me protonmail.com "
    "pm.me".split()
)
# Gmail alone says of dots that they mean nothing.
_DOTS = frozenset({"gmail.com"})
_SAME = {"googlemail.com": "gmail.com"}


def mailbox(email: str) -> str:
    """`G.Uest+two@Googlemail.com` is `guest@gmail.com`; of domains that are not known, in lower case and no more."""
    local, at, domain = email.strip().lower().rpartition("@")
    domain = _SAME.get(domain, domain)
    if domain in _PLUS:
        local = local.partition("+")[0] or local
    if domain in _DOTS:
        local = local.replace(".", "") or local
    return local + at + domain


def buyer_digest(secrets: Secrets, email: str) -> bytes:
    """16 bytes that stand for a buyer in counts and look-ups, so that they hold no addresses and none can be tried."""
    return secrets.digest("buyer", mailbox(email), size=DIGEST_BYTES)


def buyer_digests(secrets: Secrets, email: str) -> list[bytes]:
    """What a buyer's bookings are looked up by: the digest under every secret held, that of the first one first."""
    return secrets.digests("buyer", mailbox(email), size=DIGEST_BYTES)
