"""Which addresses are one buyer."""

import pytest

from holdfast.booking.mailbox import buyer_digest, mailbox
from holdfast.platform.secret import Secrets

SECRET = "a-secret-for-tests-and-nothing-else"


@pytest.mark.parametrize(
    "email, expected",
    [
        (" Guest@Example.ORG ", "guest@example.org"),
        ("g.u.e.s.t+any+thing@gmail.com", "guest@gmail.com"),
        ("guest@googlemail.com", "guest@gmail.com"),
        ("g.uest+x@outlook.com", "g.uest@outlook.com"),
        ("g.uest+x@example.org", "g.uest+x@example.org"),
        ("+@gmail.com", "+@gmail.com"),
        ("...@gmail.com", "...@gmail.com"),
        ('"a@b"@example.org', '"a@b"@example.org'),
    ],
)
def test_only_spellings_of_one_mailbox_are_one(email: str, expected: str) -> None:
    assert mailbox(email) == expected
    assert mailbox(mailbox(email)) == mailbox(email)


def test_who_has_not_the_secret_cannot_make_the_digest() -> None:
    mine = buyer_digest(Secrets(SECRET), "guest@example.org")
    assert len(mine) == 16
    assert mine == buyer_digest(Secrets(SECRET), "GUEST@example.org")
    assert mine != buyer_digest(Secrets(SECRET + "!"), "guest@example.org")
