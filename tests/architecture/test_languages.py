"""Every text that people read is there in every language, and no translation has outlived its text."""

import ast
import re
from collections import Counter

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from jinja2 import Environment, nodes

from holdfast.platform.languages import CODES, LOCALES
from holdfast.web.shop.told import ELSE, INVALID, TOLD
from tests.architecture.tree import PYTHON, SOURCE, syntax

TRANSLATED = [code for code in CODES if code != "en"]
LETTERS = sorted(SOURCE.rglob("templates/*.html")) + sorted(SOURCE.rglob("templates/*.txt"))
PAGES = sorted((SOURCE / "web" / "shop").glob("*.html"))
# What gives a text, and what one in the plural, in a letter and on a page.
GIVING = {"_": 1, "t": 1, "n": 2}
_GAPS = re.compile(r"\{(\w+)\}")


def texts() -> set[str | tuple[str, str]]:
    """What the code gives to `text` and `plural` of a language, templates to `_`, `t` and `n`, and what refusals say."""
    found: set[str | tuple[str, str]] = set()
    for path in PYTHON:
        for node in ast.walk(syntax(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            said = [each.value for each in node.args if isinstance(each, ast.Constant)]
            words = [each for each in said if isinstance(each, str)]
            if node.func.attr == "text" and len(words) == 1:
                found.add(words[0])
            elif node.func.attr == "plural" and len(words) == 2:
                found.add((words[0], words[1]))
    for path in [*LETTERS, *PAGES]:
        for call in Environment(autoescape=True).parse(path.read_text(encoding="utf-8")).find_all(nodes.Call):
            count = GIVING.get(call.node.name, 0) if isinstance(call.node, nodes.Name) else 0
            words = [each.value for each in call.args[:count] if isinstance(each, nodes.Const)]
            if words:
                found.add(words[0] if count == 1 else (words[0], words[1]))
    for pair in (*TOLD.values(), ELSE, INVALID):
        found |= set(pair)
    return found


def catalogues(code: str) -> dict[str, Catalog]:
    found = {}
    for path in sorted((LOCALES / code).glob("*.po")):
        with path.open("rb") as file:
            found[path.stem] = read_po(file, locale=code, abort_invalid=True)
    return found


def messages(code: str) -> list[Message]:
    return [message for catalogue in catalogues(code).values() for message in catalogue if message.id]


def test_there_is_a_folder_for_each_language_and_for_no_other() -> None:
    assert sorted(path.name for path in LOCALES.iterdir()) == sorted(TRANSLATED)


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_text_is_translated_in_one_place(code: str) -> None:
    times = Counter(message.id for message in messages(code))
    assert [said for said, count in times.items() if count > 1] == []


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_text_is_translated_and_no_translation_is_left_over(code: str) -> None:
    assert {message.id for message in messages(code)} == texts()


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_translation_is_whole(code: str) -> None:
    plurals = {catalogue.num_plurals for catalogue in catalogues(code).values()}
    assert len(plurals) == 1, "the files count differently"
    for message in messages(code):
        sources = [message.id] if isinstance(message.id, str) else list(message.id)
        said = [message.string] if isinstance(message.string, str) else list(message.string or ())
        assert all(said), f"{sources[0]}: not translated"
        assert not message.fuzzy, f"{sources[0]}: not looked at"
        gaps = {name for source in sources for name in _GAPS.findall(source)}
        for each in said:
            # Of one thing people need not say that it is one.
            assert set(_GAPS.findall(each)) | ({"n"} & gaps) == gaps, f"{sources[0]}: other gaps"
        assert len(said) == (1 if len(sources) == 1 else max(plurals))
