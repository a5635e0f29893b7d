"""Loyalty points: one for each whole unit of money that a buyer has paid and was not given back.

    API_URL=http://127.0.0.1:8000 API_KEY=hf_... python examples/loyalty.py points.db

The key needs the scopes facts.read and bookings.read. It reads the feed of facts from where it stopped, and each booking
that a fact speaks of as that stands now. So it does not matter in which order facts come, or how often: what is kept of
a booking is always the latest. The place in the feed and what follows from it are written in one transaction.
"""

import argparse
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

import httpx

TABLES = """
create table if not exists place (only_one integer primary key check (only_one = 1), cursor text not null);
create table if not exists points (booking_id text primary key, buyer text not null, points integer not null);
"""
KINDS = ("booking.confirmed", "booking.cancelled", "refund.settled")
# Refunds of money that paid for nothing: it never made points.
FOR_NOTHING = ("late", "second_payment")
WAIT_SECONDS = 2.0


def buyer_of(email: str) -> str:
    """Whose points they are. The address itself is not kept: whoever asks for their points says it again."""
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()[:16]


def points_of(booking: dict[str, Any], refunds: Iterable[dict[str, Any]]) -> int:
    """What a booking is worth now, less what of it was given back."""
    if booking["status"] != "CONFIRMED" or not booking["customer"]["email"]:
        return 0
    back = sum(
        each["amount"]["amount"]
        for each in refunds
        if each["state"] == "SETTLED" and each["reason"] not in FOR_NOTHING
    )
    return max(0, int(booking["total"]["amount"] - back)) // 100


def refunds_of(api: httpx.Client, path: str) -> Iterable[dict[str, Any]]:
    """Every refund of a booking."""
    asked: dict[str, str] = {}
    while True:
        page = api.get(f"/v1/{path}/refunds", params=asked).raise_for_status().json()
        yield from page["refunds"]
        if page["next"] is None:
            return
        asked = {"cursor": page["next"]}


def take(api: httpx.Client, db: sqlite3.Connection, facts: Iterable[dict[str, Any]]) -> None:
    """Looks at each booking that the facts speak of, once."""
    for path in dict.fromkeys(fact["subject"] for fact in facts):
        answer = api.get(f"/v1/{path}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            continue
        booking = answer.raise_for_status().json()
        email = booking["customer"]["email"] or ""
        db.execute(
            "insert into points values (?, ?, ?) on conflict (booking_id) do update"
            " set buyer = excluded.buyer, points = excluded.points",
            (booking["id"], buyer_of(email), points_of(booking, refunds_of(api, path))),
        )


def read_on(api: httpx.Client, db: sqlite3.Connection) -> bool:
    """Reads one page of the feed; whether there is more to be had at once."""
    kept = db.execute("select cursor from place").fetchone()
    asked: dict[str, Any] = {"kinds": KINDS, "limit": 100} | ({"cursor": kept[0]} if kept else {})
    answer = api.get("/v1/facts", params=asked)
    if answer.status_code == httpx.codes.GONE:
        # Away for longer than facts are kept: begin with the oldest there is. What is known of older bookings stays.
        with db:
            db.execute("delete from place")
        return True
    page = answer.raise_for_status().json()
    with db:
        take(api, db, page["facts"])
        db.execute("insert or replace into place values (1, ?)", (page["next"],))
    return bool(page["more"])


def main() -> None:
    """Follows the feed for ever, or with --once to its end."""
    parser = argparse.ArgumentParser(description="Loyalty points out of the feed of facts.")
    parser.add_argument("file", help="where the points are kept (SQLite)")
    parser.add_argument(
        "--once", action="store_true", help="read to the end of the feed, say the points, and stop"
    )
    given = parser.parse_args()
    db = sqlite3.connect(given.file)
    db.executescript(TABLES)
    headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
    with httpx.Client(base_url=os.environ["API_URL"], headers=headers) as api:
        while True:
            try:
                while read_on(api, db):
                    pass
            except httpx.HTTPError as error:
                print(f"trying again: {error}")
            if given.once:
                break
            time.sleep(WAIT_SECONDS)
    for buyer, points in db.execute("select buyer, sum(points) from points group by buyer order by buyer"):
        print(f"{buyer} {points}")
    db.close()


if __name__ == "__main__":
    main()
