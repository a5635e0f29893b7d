"""Where SQL stands and what it may write. That each query prepares is tested against a real database elsewhere.

Owners are stated where tables are made: a line `-- owner: booking` in a migration holds for the tables after it.
"""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.tree import DOMAINS, MIGRATIONS, PYTHON, SOURCE, SQL, name_of, part_of, syntax

# Facts and jobs are written in the transaction of the change that they belong to, so everybody may add to these.
OPEN_TO_INSERTS = {"outbox", "jobs"}
# They speak with a server before there is a schema, or on behalf of every query.
SPEAKS_SQL = {"platform/db.py", "platform/migrate.py"}
SPEAKS_SQL_UNDER = ("platform/embedded",)

_OWNER = re.compile(r"^--\s*owner:\s*(\w+)", re.IGNORECASE)
_TABLE = re.compile(r"^\s*create\s+(?:unlogged\s+)?table\s+(?:if\s+not\s+exists\s+)?(\w+)", re.IGNORECASE)
_WRITES = re.compile(
    r"\b(insert\s+into|(?<!for\s)(?<!for\sno\skey\s)(?<!do\s)update(?:\s+only)?|delete\s+from(?:\s+only)?"
    r"|merge\s+into|truncate(?:\s+table)?)\s+(\w+)",
    re.IGNORECASE,
)
_NOT_CODE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_NAME = re.compile(r"^-- name: (\S+)$", re.MULTILINE)
_STATEMENT = re.compile(
    r"\s*(?:(?:select|SELECT)\s(?=.*\b(?:from|FROM)\b|\s*\w+\()|(?i:insert\s+into\s+\w+|update\s+\w+\s+set\s"
    r"|delete\s+from\s+\w+|with\s+(?:recursive\s+)?\w+\s+as\s+(?:not\s+|materialized\s+)*\("
    r"|(?:create|alter|drop)\s+(?:table|index|function|schema|sequence)\s+\w+|truncate\s+(?:table\s+)?\w+$"
    r"|lock\s+table\s|set\s+local\s+\w+|copy\s+\w+\s+(?:from|to)\b))",
    re.DOTALL,
)


def owners() -> dict[str, str]:
    found: dict[str, str] = {}
    for migration in MIGRATIONS:
        owner = ""
        for line in migration.read_text(encoding="utf-8").splitlines():
            if stated := _OWNER.match(line):
                owner = stated[1]
            elif made := _TABLE.match(line):
                found[made[1]] = owner
    return found


OWNERS = owners()


def writes(sql: str) -> set[tuple[str, str]]:
    """(statement, table) of everything that SQL text changes, comments and strings apart."""
    code = _NOT_CODE.sub(" ", sql)
    return {(verb.split()[0].lower(), table.lower()) for verb, table in _WRITES.findall(code)}


def query_names(path: Path) -> list[str]:
    return _NAME.findall(path.read_text(encoding="utf-8"))


def test_every_table_has_an_owner() -> None:
    assert {table for table, owner in OWNERS.items() if owner not in {*DOMAINS, "platform"}} == set()


@pytest.mark.parametrize("path", SQL, ids=name_of)
def test_a_table_is_written_by_its_owner_alone(path: Path) -> None:
    found = {
        f"{verb} {table} (of {OWNERS[table]})"
        for verb, table in writes(path.read_text(encoding="utf-8"))
        if table in OWNERS and OWNERS[table] != part_of(path)
        if not (verb == "insert" and table in OPEN_TO_INSERTS)
    }
    assert found == set()


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_rows_are_copied_by_the_owner_of_their_table_alone(path: Path) -> None:
    """`tx.copy("seats", ...)` writes too, and its table must be a plain string so that this test can read it."""
    calls = [
        node
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "copy"
        and node.args
    ]
    if path.name == "db.py":
        return
    tables = [ast.literal_eval(call.args[0]) for call in calls]
    assert {table for table in tables if OWNERS.get(table) != part_of(path)} == set()


@pytest.mark.parametrize("path", [path for path in SQL if query_names(path)], ids=name_of)
def test_the_queries_written_are_the_queries_used(path: Path) -> None:
    written = query_names(path)
    assert len(written) == len(set(written)), "a name stands twice"
    used = {
        node.attr
        for neighbour in path.parent.glob("*.py")
        for node in ast.walk(syntax(neighbour))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sql"
    }
    # A folder may have several such files, and no name twice.
    elsewhere = [name for other in path.parent.glob("*.sql") if other != path for name in query_names(other)]
    assert set(written) <= used <= {*written, *elsewhere}
    assert not set(written) & set(elsewhere), "a name stands in two files"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_queries_are_loaded_from_the_file_beside(path: Path) -> None:
    asks = any(
        isinstance(node, ast.Call) and ast.unparse(node.func).endswith("load_queries")
        for node in ast.walk(syntax(path))
    )
    assert not asks or (path.parent / "queries.sql").exists()


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_sql_stands_in_sql_files(path: Path) -> None:
    if name_of(path) in SPEAKS_SQL or name_of(path).startswith(SPEAKS_SQL_UNDER):
        return
    texts = (node for node in ast.walk(syntax(path)) if isinstance(node, ast.Constant))
    found = [(node.lineno, node.value) for node in texts if isinstance(node.value, str)]
    assert [f"line {line}: {text[:60]}" for line, text in found if _STATEMENT.match(text)] == []


_ASKS = {"row", "rows", "value", "execute", "many"}
_PLAIN = (ast.Attribute, ast.Name)


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_what_is_asked_is_a_query_by_name_and_never_made_of_parts(path: Path) -> None:
    """No statement is put together from texts: values go as parameters, and what is asked is `sql.name`.

    A name for a query (`db.rows(query)`) is one, too; an f-string, `+`, `%`, `.format()` or any other call is not. Nor
    does anybody take the text out of a query, or make one of a text.
    """
    if name_of(path) in SPEAKS_SQL or name_of(path).startswith(SPEAKS_SQL_UNDER):
        return
    calls = [node for node in ast.walk(syntax(path)) if isinstance(node, ast.Call)]
    asked = [
        call.args[0]
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in _ASKS and call.args
    ]
    found = [
        f"line {node.lineno}: {ast.unparse(node)[:60]}" for node in asked if not isinstance(node, _PLAIN)
    ]
    found += [f"line {c.lineno}: a Query" for c in calls if ast.unparse(c.func).rpartition(".")[2] == "Query"]
    found += [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute)
        and node.attr == "text"
        and ast.unparse(node.value).startswith("sql.")
    ]
    assert found == []


_RUNS_TEXT = re.compile(r"\bexecute\b(?!\s+on\b)", re.IGNORECASE)


@pytest.mark.parametrize("path", SQL, ids=name_of)
def test_no_function_runs_a_text_that_it_was_given(path: Path) -> None:
    """PL/pgSQL's EXECUTE is how a function could be injected into."""
    assert _RUNS_TEXT.findall(_NOT_CODE.sub(" ", path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    ['db.rows(f"select {x}")', 'tx.row("a" + x)', 'tx.execute("a %s" % x)', 'db.value("a {}".format(x))',
     'Query("x", text)', "sql.shows.text", "db.many(text.join(parts), [])"],
)  # fmt: skip
def test_control_a_statement_made_of_parts_is_found(source: str, monkeypatch: Any) -> None:
    path = SOURCE / "made_of_parts.py"
    monkeypatch.setattr(f"{__name__}.syntax", lambda _: ast.parse(source))
    with pytest.raises(AssertionError):
        test_what_is_asked_is_a_query_by_name_and_never_made_of_parts(path)


def test_the_migrations_are_numbered_without_a_gap() -> None:
    names = [re.fullmatch(r"(\d{4})_[a-z0-9_]+\.(?:pre|post)\.sql", path.name) for path in MIGRATIONS]
    assert [path.name for path, name in zip(MIGRATIONS, names, strict=True) if name is None] == []
    numbers = [int(name[1]) for name in names if name]
    assert numbers == list(range(1, len(numbers) + 1))
