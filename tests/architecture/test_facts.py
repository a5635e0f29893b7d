"""Whatever is announced stands in the catalogue: a schema, an example of it, and a sentence that says what happened."""

import ast
import re

import jsonschema_rs
import msgspec
import pytest

from holdfast import facts
from tests.architecture.tree import PYTHON, SQL, syntax

_BY_FUNCTION = re.compile(r"\bannounce\(\s*[^;]*?'([a-z_]+\.[a-z_]+)'", re.DOTALL)


def announced() -> set[str]:
    """The kinds that SQL and Python announce, as far as their text says."""
    kinds = {kind for path in SQL for kind in _BY_FUNCTION.findall(path.read_text(encoding="utf-8"))}
    for path in PYTHON:
        for node in ast.walk(syntax(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("announce"):
                kinds |= {kind for argument in node.args if (kind := _kind(argument))}
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "facts":
                kinds |= {kind for kind in [_kind(node)] if kind}
    return kinds


def _kind(argument: ast.expr) -> str | None:
    """The kind that an argument names: by its text, by its constant in `facts`, or by the payload that is made there."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    if isinstance(argument, ast.Call):
        argument = argument.func
    name = ast.unparse(argument).rpartition(".")[2]
    named = None if name.startswith("_") else getattr(facts, name, None)
    kind = named if isinstance(named, str) else getattr(named, "kind", None)
    return kind if isinstance(kind, str) and re.fullmatch(r"[a-z_]+\.[a-z_]+", kind) else None


def test_every_kind_that_is_announced_stands_in_the_catalogue() -> None:
    found = announced()
    assert {"booking.confirmed", "show.created", "show.moved", "ticket.voided"} <= found
    assert found <= facts.PAYLOADS.keys()


def test_every_payload_stands_in_the_catalogue() -> None:
    made = [
        each for each in vars(facts).values() if isinstance(each, type) and issubclass(each, facts.Payload)
    ]
    assert {each for each in made if hasattr(each, "kind")} == set(facts.PAYLOADS.values())


def test_every_kind_has_an_example() -> None:
    assert list(facts.EXAMPLES) == list(facts.PAYLOADS)


@pytest.mark.parametrize("kind", facts.PAYLOADS)
def test_an_example_is_one_of_its_kind(kind: str) -> None:
    payload, data = facts.PAYLOADS[kind], msgspec.to_builtins(facts.EXAMPLES[kind])
    assert msgspec.convert(data, payload) == facts.EXAMPLES[kind]
    schema = msgspec.json.schema(payload)
    assert jsonschema_rs.is_valid(schema, data)
    for field in payload.__struct_fields__:
        without = {name: value for name, value in data.items() if name != field}
        assert not jsonschema_rs.is_valid(schema, without)


@pytest.mark.parametrize("kind", facts.PAYLOADS)
def test_a_fact_names_nobody(kind: str) -> None:
    assert not {"email", "name", "phone", "holder", "address"} & set(facts.PAYLOADS[kind].__struct_fields__)
