"""How an organizer's letters are: their language, when they remind, and what the organizer adds in its own words."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from holdfast.platform import texts
from holdfast.platform.db import Database, Transaction, load_queries
from holdfast.platform.ids import OrganizerId
from holdfast.platform.languages import Code, Language, language
from holdfast.platform.settings import Settings

sql = load_queries(__file__)

# What an organizer's words may name. All are plain texts by the time they are put in.
NAMES = ("show", "starts", "venue", "organizer", "reference")
OWN_WORDS_MAX = 4000

OwnWords = Annotated[str, Meta(max_length=OWN_WORDS_MAX)]


class OwnTexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An organizer's own words, each in the letter of its name; empty: none.

    Plain text, with gaps such as `{{ show }}`: show, starts, venue, organizer and reference.
    """

    confirmation: OwnWords = ""
    reminder: OwnWords = ""


class Rules(msgspec.Struct, frozen=True):
    """How an organizer's letters are. None: as the installation says."""

    language: Code | None = None
    reminder_hours: int | None = None
    texts: OwnTexts = OwnTexts()

    def spoken(self, settings: Settings) -> Language:
        """The language of its letters."""
        return language(self.language or settings.language)


async def rules_of(db: Database | Transaction, organizer_id: OrganizerId) -> Rules:
    """The rules of an organizer; those of the installation where it said nothing."""
    row = await db.row(sql.rules_of, organizer_id)
    return msgspec.convert(dict(row), Rules) if row else Rules()


async def set_rules(tx: Transaction, organizer_id: OrganizerId, rules: Rules) -> None:
    """Sets the rules of an organizer. Raises Invalid, with line and column, for own words with more than gaps and
    conditions in them.
    """
    for name in OwnTexts.__struct_fields__:
        texts.check(getattr(rules.texts, name), NAMES, f"/texts/{name}")
    await tx.execute(sql.rules_set, organizer_id, rules.language, rules.reminder_hours, rules.texts)


def own_words(rules: Rules, kind: Literal["confirmation", "reminder"], values: dict[str, str]) -> list[str]:
    """The organizer's words for a letter, as paragraphs of plain text."""
    said = texts.render(getattr(rules.texts, kind), values, html=False)
    return [paragraph.strip() for paragraph in said.split("\n\n") if paragraph.strip()]
