"""How an organizer's letters are, over HTTP. `call.state` is the Engine."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast import accounts
from holdfast.accounts import Staff
from holdfast.notifications.rules import OwnTexts, Rules, rules_of, set_rules
from holdfast.platform.http import Call, Routes
from holdfast.platform.languages import Code

routes = Routes("letters")


class RulesSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How letters are; null: as the installation says. `reminder_hours` 0: nobody is reminded."""

    language: Code | None = None
    reminder_hours: Annotated[int, Meta(ge=0, le=720)] | None = None
    texts: OwnTexts = OwnTexts()


class OwnTextsJson(msgspec.Struct):
    """The organizer's own words in each letter; empty: none."""

    confirmation: str
    reminder: str


class RulesJson(msgspec.Struct):
    """How letters are; null: as the installation says."""

    language: Code | None
    reminder_hours: int | None
    texts: OwnTextsJson


@routes.get("/v1/organizer/letters", who=Staff("shows.read_all"), answers={200: RulesJson})
async def read_letter_rules(call: Call[None]) -> RulesJson:
    """Read how the letters of the organizer that you act for are."""
    return _json(await rules_of(call.db, call.caller.organizer_id))


@routes.put(
    "/v1/organizer/letters", who=Staff("organizer.write"), body=RulesSpec, answers={200: RulesJson},
    example={
        "language": "de", "reminder_hours": 48,
        "texts": {"confirmation": "Doors open an hour before {{ starts }}.", "reminder": ""},
    },
)  # fmt: skip
async def set_letter_rules(call: Call[RulesSpec]) -> RulesJson:
    """Say how the letters of the organizer that you act for are.

    Own words are plain text with gaps, `{{ show }}`, `{{ starts }}`, `{{ venue }}`, `{{ organizer }}`, `{{ reference }}`,
    and with parts that hang on them, `{% if venue %} ... {% endif %}`.
    """
    own, spec = call.caller.organizer_id, call.body
    rules = Rules(spec.language, spec.reminder_hours, spec.texts)
    async with call.db.transaction() as tx:
        before = await rules_of(tx, own)
        await set_rules(tx, own, rules)
        await accounts.audit(
            tx, call, "letters.edited", organizer_id=own, subject=own, before=_amounts(before), after=_amounts(rules)
        )  # fmt: skip
    return _json(rules)


def _json(rules: Rules) -> RulesJson:
    texts = OwnTextsJson(rules.texts.confirmation, rules.texts.reminder)
    return RulesJson(rules.language, rules.reminder_hours, texts)


def _amounts(rules: Rules) -> dict[str, Any]:
    """What an entry of the audit says: of the words, how many there are."""
    told = {f"{name}_length": len(getattr(rules.texts, name)) for name in OwnTexts.__struct_fields__}
    return {"language": rules.language, "reminder_hours": rules.reminder_hours, **told}
