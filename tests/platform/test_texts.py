"""Organizers' texts are filled in, and are no programs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from holdfast.platform import texts
from holdfast.platform.errors import Invalid, Refusal

NAMES = ["name", "place", "total"]
VALUES = {"name": "Anna <b>&\"'", "place": "", "total": "45.00 EUR"}

# CVE-2023-2259, the usual ways out of Jinja's sandbox and of other languages, and work without end.
PAYLOADS = [
    "{{ 7*7 }}", "{{ name.__class__ }}", "{{ name['__class__'] }}", "{{ name|attr('__class__') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ self.__init__.__globals__ }}", "{{ config }}", "{{ request }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ lipsum.__globals__ }}", "{{ range(10**9) }}",
    "{{ 'a' * 10**9 }}", "{{ name * 1000000000 }}", "{{ name ~ name }}", "{{ name.format() }}",
    "{{ '{0.__class__}'.format(name) }}", "{{ name|upper }}", "{{ name() }}", "{{ name is defined }}", "{{ (name) }}",
    "{{ name, place }}", "{{ [name] }}", "{{ {'a': name} }}", "{{ -name }}", "{{ name if place else total }}",
    "{{ 'text' }}", "{{ 1 }}", "{{ true }}", "{{ none }}", "{{ name[0] }}", "{{ name[:3] }}", "{{}}", "{{ }}", "{{ _ }}",
    "{{ __builtins__ }}", "{{ caller() }}", "{{ super() }}", "{{ loop }}", "{{ context }}", "{{ environment }}",
    "{% for x in range(1000000000) %}x{% endfor %}", "{% for x in name %}{{ x }}{% endfor %}", "{% set x = name %}",
    "{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% from 'x' import y %}", "{% extends 'x' %}",
    "{% macro m() %}{% endmacro %}", "{% call m() %}{% endcall %}", "{% block b %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}", "{% with x = 1 %}{% endwith %}", "{% autoescape false %}{{ name }}{% endautoescape %}",
    "{% raw %}{{ name }}{% endraw %}", "{% do name %}", "{% debug %}", "{% if name == 'x' %}x{% endif %}",
    "{% if name and place %}x{% endif %}", "{% if name.x %}x{% endif %}", "{% if 1 %}x{% endif %}",
    "{% if not not name %}x{% endif %}", "{% if name %}", "{% endif %}", "{% else %}", "{% elif name %}", "{% %}", "{%%}",
    "{{ if name }}", "{% name %}", "{{ unknown }}", "{% if unknown %}x{% endif %}", "{{ NAME }}", "{{ name", "{% if name",
    "{# never closed", "{% if name %}a{% else %}b{% else %}c{% endif %}", "{% if name %}a{% else %}b{% elif place %}c{% endif %}",
    "{{ name }}{{ name\n.__class__ }}", "{%- set x = 1 -%}", "{{- 7*7 -}}", "\x00{{ 7*7 }}", "{{ ｎame }}",
    "{% if name %}" * 11 + "{% endif %}" * 11, "{{ name }}" * 501, "{% if name %}" * 5000, "a" * 20_001, "{{" * 5000,
    "{{ name" + "." * 10_000 + " }}", "{{ " + "(" * 9000 + " }}", "{{ " + "9" * 15_000 + " }}", "{{ '" + "a" * 1000,
]  # fmt: skip
# What other languages of templates would run, and what stands here as it is.
FOREIGN = ["${7*7}", "#{7*7}", "<%= 7*7 %>", "{7*7}", "%(name)s", "{0.__class__}", "@(7*7)", "[[7*7]]", "$name", "}}", "%}", "{ { name } }"]  # fmt: skip


@pytest.mark.parametrize("text", PAYLOADS, ids=range(len(PAYLOADS)))
def test_what_is_more_than_gaps_and_conditions(text: str) -> None:
    with pytest.raises(Invalid):
        texts.check(text, NAMES)
    for html in (False, True):
        with pytest.raises(Invalid):
            texts.render(text, VALUES, html=html)


@pytest.mark.parametrize("text", FOREIGN)
def test_other_languages_mean_nothing(text: str) -> None:
    texts.check(text, NAMES)
    assert texts.render(text, VALUES, html=False) == text


def test_values_fill_the_gaps() -> None:
    text = (
        "Dear {{ name }},\r\n{% if place %}sit on {{place}}{% elif not name %}?{% else %}stand{% endif %}"
        "{#- a note -#}\n{%- if not place %}!{% endif -%}\n {{ total }}\n"
    )
    texts.check(text, NAMES)
    assert texts.render(text, VALUES, html=False) == "Dear Anna <b>&\"',\nstand!45.00 EUR\n"
    assert texts.render(text, VALUES, html=True) == "Dear Anna &lt;b&gt;&amp;&#34;&#39;,\nstand!45.00 EUR\n"


@pytest.mark.parametrize(
    "payload", ["{{ 7*7 }}", "{% for x in y %}", "{{ name.__class__ }}", "{{ total }}", "{# x"]
)
def test_a_value_is_never_read_as_a_text(payload: str) -> None:
    assert texts.render("{{ name }}", {"name": payload}, html=False) == payload


@pytest.mark.parametrize(
    "text, where",
    [
        ("{{ 7*7 }}", "Line 1, column 1: Only {{ name }}"),
        ("Dear {{ name }},\n  {{ nmae }}", "Line 2, column 3: There is no such value. These are known: name, place, total."),
        ("a\r\n\r\nb {{ name }}{% if name %}", "Line 3, column 13: The end of this part is missing"),
        ("a   {%- set x = 1 %}", "Line 1, column 5: Only"),
        ("{{ name }}\n{% raw %}x{% endraw %}", "Line 2, column 1: Only"),
        ("a\n{{ name", "Line 2, column 1: Only"),
        ("a\nb {# x", "Line 2: Missing end of comment tag."),
        ("{% if name %}\n{% else %}\n{% else %}{% endif %}", "Line 3: "),
    ],
)  # fmt: skip
def test_what_is_refused_is_found_by_line_and_column(text: str, where: str) -> None:
    with pytest.raises(Invalid) as refused:
        texts.check(text, NAMES, "/mail/text")
    assert str(refused.value).startswith(where)
    assert refused.value.members["errors"][0]["pointer"] == "/mail/text"


def test_a_rendered_text_has_an_end() -> None:
    with pytest.raises(texts.TextTooLong):
        texts.render("{{ name }}" * 500, {"name": "a" * 1000}, html=False)


def test_a_value_cannot_vouch_for_its_own_markup() -> None:
    with pytest.raises(AssertionError):
        texts.render("{{ name }}", {"name": Markup("<script>")}, html=True)


def test_a_text_with_a_gap_that_nobody_fills_any_more() -> None:
    with pytest.raises(Invalid, match="no such value"):
        texts.render("{{ place }}", {"name": "Anna"}, html=False)


@given(st.text(alphabet="{}%#-+ \nifelsndam.()'|0", max_size=60))
def test_whatever_is_written_is_refused_or_rendered(text: str) -> None:
    try:
        texts.check(text, NAMES)
        rendered = texts.render(text, VALUES, html=True)
    except Refusal:
        return
    assert "Anna <b>" not in rendered
