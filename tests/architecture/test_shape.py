"""Sizes and names that keep the tree small enough to hold in the head."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.tree import PYTHON, ROOT, SOURCE, name_of, syntax

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
WRITTEN_BY_HAND = sorted(
    path
    for path in SOURCE.rglob("*")
    if path.suffix in {".py", ".sql", ".js", ".css", ".html"} and path.name != "schema.sql"
)
# Names that say nothing about what a file or class does, and therefore attract everything.
EMPTY_WORDS = set("service services util utils helper helpers common manager managers misc".split())
TESTS_AND_SOURCE = sorted(path for top in ("src", "tests", "bench") for path in (ROOT / top).rglob("*.py"))


def words(name: str) -> set[str]:
    """`seat_utils` and `SeatUtils` are both {seat, utils}."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}


@pytest.mark.parametrize("path", WRITTEN_BY_HAND, ids=name_of)
def test_a_file_fits_the_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_a_function_fits_the_eye(path: Path) -> None:
    functions = (
        node for node in ast.walk(syntax(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("path", TESTS_AND_SOURCE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_says_what_it_does(path: Path) -> None:
    classes = [node.name for node in ast.walk(syntax(path)) if isinstance(node, ast.ClassDef)]
    names = [*path.relative_to(ROOT).with_suffix("").parts, *classes]
    assert {name for name in names if words(name) & EMPTY_WORDS} == set()
