"""Texts of organizers with gaps for values: `Dear {{ name }}, {% if place %}your place is {{ place }}.{% endif %}`

That is the whole language: gaps, and parts that stand or fall with a value; no loops, calculations, calls or looks inside
a value. What else is written is refused when the text is stored. Values are plain strings that the caller has formatted.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from holdfast.platform.errors import Invalid, Refusal

TEXT_LENGTH_MAX = 20_000
TAGS_MAX = 500
DEPTH_MAX = 10
RENDERED_LENGTH_MAX = 200_000
COMPILED_KEPT = 256

# What the compiled text may consist of, said once more in Jinja's own terms.
_NODES = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.If, nodes.Not)
_OPENS = {"variable_begin": "variable_end", "block_begin": "block_end"}


class TextTooLong(Refusal):
    """The values make the text longer than RENDERED_LENGTH_MAX characters."""

    code = "text_too_long"
    status = 400
    title = "With its values the text is too long."


@dataclass(frozen=True, slots=True)
class _Tag:
    """One `{{ ... }}` or `{% ... %}`: the words in it, and where it begins."""

    words: list[str]
    is_gap: bool
    line: int
    column: int


def check(text: str, names: Collection[str], pointer: str = "/text") -> None:
    """Raises Invalid, with line and column, for a text that is more than gaps of these names and parts that hang on them."""
    source = _normal(text)
    if len(source) > TEXT_LENGTH_MAX:
        raise Invalid(f"A text has at most {TEXT_LENGTH_MAX} characters.", pointer=pointer)
    try:
        fault = _fault(list(_tags(source)), names)
        if fault is None:
            # What is left are conditions whose parts are in disorder.
            _compiled(source, html=False)
    except TemplateSyntaxError as error:
        fault = f"Line {error.lineno}: {error.message}."
    if fault:
        raise Invalid(fault, pointer=pointer)


def render(text: str, values: Mapping[str, str], *, html: bool) -> str:
    """The text with its values; in HTML the values are escaped, and the text's own markup stays.

    Raises Invalid as `check` does, and TextTooLong.
    """
    assert all(type(value) is str for value in values.values()), "a value is a plain string"
    check(text, values.keys())
    parts: list[str] = []
    length = 0
    for part in _compiled(_normal(text), html=html).generate(values):
        parts.append(part)
        length += len(part)
        if length > RENDERED_LENGTH_MAX:
            raise TextTooLong
    return "".join(parts)


def _normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _tags(source: str) -> Iterator[_Tag]:
    tag: _Tag | None = None
    at = 0
    for _, kind, value in _environments[False].lex(source):
        # Spaces that a tag asks to be left out ({%-) are missing from the tokens; nothing else is.
        at = source.index(value, at)
        if kind in _OPENS:
            tag = _Tag(
                [], kind == "variable_begin", source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)
            )
        elif kind == "raw_begin":
            yield _Tag(["raw"], False, source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at))
        elif kind in _OPENS.values():
            assert tag is not None
            yield tag
            tag = None
        elif tag is not None and kind != "whitespace":
            tag.words.append(value)
        at += len(value)
    if tag is not None:
        # It has no end, and with this no allowed form.
        tag.words.append("")
        yield tag


def _fault(tags: Sequence[_Tag], names: Collection[str]) -> str | None:
    """The first thing that is wrong, and where; None when nothing is."""
    if len(tags) > TAGS_MAX:
        return f"A text has at most {TAGS_MAX} gaps and conditions."
    open_parts: list[_Tag] = []
    for tag in tags:
        fault = _fault_of(tag, names, open_parts)
        if fault:
            return f"Line {tag.line}, column {tag.column}: {fault}"
    for tag in open_parts:
        return f"Line {tag.line}, column {tag.column}: The end of this part is missing: {{% endif %}}."
    return None


def _fault_of(tag: _Tag, names: Collection[str], open_parts: list[_Tag]) -> str | None:
    """What is wrong with a tag; `open_parts` are the conditions around it, which it may begin or end."""
    match tag.words:
        case [name] if tag.is_gap:
            return _unknown(name, names)
        case ["if", name] | ["if", "not", name] if not tag.is_gap:
            open_parts.append(tag)
            if len(open_parts) > DEPTH_MAX:
                return f"Conditions stand at most {DEPTH_MAX} deep."
            return _unknown(name, names)
        case ["elif", name] | ["elif", "not", name] if not tag.is_gap and open_parts:
            return _unknown(name, names)
        case ["else"] if not tag.is_gap and open_parts:
            return None
        case ["endif"] if not tag.is_gap and open_parts:
            open_parts.pop()
            return None
    return "Only {{ name }} and {% if name %} ... {% else %} ... {% endif %} may stand here."


def _unknown(name: str, names: Collection[str]) -> str | None:
    return None if name in names else f"There is no such value. These are known: {', '.join(sorted(names))}."


@lru_cache(COMPILED_KEPT)
def _compiled(source: str, *, html: bool) -> Template:
    environment = _environments[html]
    tree = environment.parse(source)
    assert all(isinstance(node, _NODES) for node in tree.find_all(nodes.Node)), (
        "more than gaps and conditions"
    )
    return environment.from_string(tree)


def _environment(*, html: bool) -> ImmutableSandboxedEnvironment:
    # The sandbox is the last net: no text that gets here looks inside a value or calls anything.
    environment = ImmutableSandboxedEnvironment(
        autoescape=html, undefined=StrictUndefined, keep_trailing_newline=True
    )
    for tools in (environment.globals, environment.filters, environment.tests):
        tools.clear()
    return environment


_environments = {html: _environment(html=html) for html in (False, True)}
