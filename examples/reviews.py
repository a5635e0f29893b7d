"""Reviews by those who were there: one for each booking, once its show has begun.

    API_URL=http://127.0.0.1:8000 API_KEY=hf_... WEBHOOK_SECRET=whsec_... python examples/reviews.py reviews.db --port 8100

The key needs the scope facts.read. A webhook of this organizer sends its facts to http://127.0.0.1:8100/hooks; at its start
the program catches up from the feed with what it missed. A booking's facts may come in any order and more than once, so
each is compared with what is known by the booking's version.

    POST /reviews {"booking_id": ..., "stars": 5, "text": ...}    GET /reviews
"""

import argparse
import json
import os
import sqlite3
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError

TABLES = """
create table if not exists place (only_one integer primary key check (only_one = 1), cursor text not null);
create table if not exists bookings (booking_id text primary key, show_id text not null, version integer not null,
  status text not null);
create table if not exists reviews (booking_id text primary key, show_id text not null, stars integer not null
  check (stars between 1 and 5), text text not null);
"""
KINDS = ("booking.confirmed", "booking.cancelled")
BODY_BYTES_MAX = 65_536
SECONDS_MAX = 10


class Reviews:
    """What is known, in SQLite."""

    def __init__(self, file: str, api: httpx.Client) -> None:
        self._db = sqlite3.connect(file)
        self._db.executescript(TABLES)
        self._api = api

    def take(self, fact: dict[str, Any]) -> None:
        """Takes a fact. An older one than is known changes nothing, and neither does the same one again."""
        if fact["type"] not in KINDS:
            return
        said = fact["data"]
        with self._db:
            self._db.execute(
                "insert into bookings values (?, ?, ?, ?) on conflict (booking_id) do update"
                " set version = excluded.version, status = excluded.status where excluded.version > version",
                (said["booking_id"], fact["showid"], said["version"], said["status"]),
            )

    def catch_up(self) -> None:
        """Reads the feed from where it was left at the last start, to its end."""
        kept = self._db.execute("select cursor from place").fetchone()
        cursor, more = (kept[0] if kept else None), True
        while more:
            asked: dict[str, Any] = {"kinds": KINDS} | ({"cursor": cursor} if cursor else {})
            answer = self._api.get("/v1/facts", params=asked)
            if answer.status_code == httpx.codes.GONE:
                cursor = None
                continue
            page = answer.raise_for_status().json()
            for fact in page["facts"]:
                self.take(fact)
            cursor, more = page["next"], page["more"]
            with self._db:
                self._db.execute("insert or replace into place values (1, ?)", (cursor,))

    def add(self, booking_id: str, stars: int, text: str) -> str | None:
        """Adds the review of a booking, or says why not."""
        found = self._db.execute(
            "select show_id, status from bookings where booking_id = ?", (booking_id,)
        ).fetchone()
        if found is None or found[1] != "CONFIRMED":
            return "This booking is not known."
        # Asked now, because a show may have been moved.
        show = self._api.get(f"/v1/shows/{found[0]}").raise_for_status().json()
        if datetime.fromisoformat(show["start_time"]) > datetime.now(UTC):
            return "The show has not begun."
        try:
            with self._db:
                self._db.execute(
                    "insert into reviews values (?, ?, ?, ?)", (booking_id, found[0], stars, text)
                )
        except sqlite3.IntegrityError:
            return "There is a review of this booking already, or the stars are not 1 to 5."
        return None

    def all(self) -> list[dict[str, Any]]:
        """Every review, without whose it is."""
        rows = self._db.execute("select show_id, stars, text from reviews order by rowid")
        return [{"show_id": show_id, "stars": stars, "text": text} for show_id, stars, text in rows]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = SECONDS_MAX
    reviews: Reviews
    webhook: Webhook

    def do_GET(self) -> None:
        found = self.path == "/reviews"
        self._answer(
            *((200, {"reviews": self.reviews.all()}) if found else (404, {"error": "There is nothing here."}))
        )

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if length > BODY_BYTES_MAX:
            self._answer(413, {"error": "This is too long."})
            return
        body = self.rfile.read(length)
        doing = {"/hooks": self._taken, "/reviews": self._added}.get(self.path)
        self._answer(*(doing(body) if doing else (404, {"error": "There is nothing here."})))

    def _taken(self, body: bytes) -> tuple[int, dict[str, Any] | None]:
        try:
            fact = self.webhook.verify(body, dict(self.headers.items()))
        except WebhookVerificationError:
            return 400, {"error": "This was not signed with our secret."}
        # Before the answer: what was answered with 2xx is not sent again.
        self.reviews.take(fact)
        return 204, None

    def _added(self, body: bytes) -> tuple[int, dict[str, Any] | None]:
        try:
            wanted = json.loads(body)
            refused = self.reviews.add(str(wanted["booking_id"]), int(wanted["stars"]), str(wanted["text"]))
        except (KeyError, TypeError, ValueError):
            return 400, {"error": "Send booking_id, stars and text."}
        return (409, {"error": refused}) if refused else (201, {})

    def _answer(self, status: int, said: dict[str, Any] | None) -> None:
        body = b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def main() -> None:
    """Catches up, then serves for ever."""
    parser = argparse.ArgumentParser(description="Reviews by those who were there.")
    parser.add_argument("file", help="where bookings and reviews are kept (SQLite)")
    parser.add_argument("--port", type=int, default=8100)
    given = parser.parse_args()
    headers = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
    with httpx.Client(base_url=os.environ["API_URL"], headers=headers) as api:
        Handler.reviews = Reviews(given.file, api)
        Handler.webhook = Webhook(os.environ["WEBHOOK_SECRET"])
        Handler.reviews.catch_up()
        with HTTPServer(("127.0.0.1", given.port), Handler) as server:
            print(f"http://127.0.0.1:{server.server_port}/reviews", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
