"""Who may import what, as far as .importlinter cannot say it: its wildcards stand for whole names only."""

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import DOMAINS, PYTHON, SOURCE, graph, name_of, syntax

WEB_FRAMEWORK = {"starlette", "sse_starlette"}


def is_routes(module: str) -> bool:
    """A room that knows HTTP: `booking.routes`, `booking.seed_routes`, or a module inside a package of that name."""
    return any(part == "routes" or part.endswith("_routes") for part in module.split("."))


def is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def importers(module: str) -> set[str]:
    known = graph()
    return known.find_modules_that_directly_import(module) if module in known.modules else set()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_is_entered_by_its_front_door(domain: str) -> None:
    door = f"holdfast.{domain}"
    trespasses = {
        f"{importer} -> {inner}"
        for inner in graph().find_descendants(door)
        for importer in importers(inner)
        if not is_in(importer, door)
        and not (is_in(importer, "holdfast.app") and is_routes(inner))  # it mounts them
    }
    assert trespasses == set()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_does_without_its_routes(domain: str) -> None:
    door = f"holdfast.{domain}"
    dependants = {
        f"{importer} -> {inner}"
        for inner in graph().find_descendants(door)
        if is_routes(inner)
        for importer in importers(inner)
        if is_in(importer, door) and not is_routes(importer)
    }
    assert dependants == set()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_front_door_says_what_stands_behind_it(domain: str) -> None:
    door = syntax(SOURCE / domain / "__init__.py")
    docstring = ast.get_docstring(door) or ""
    assert len([line for line in docstring.splitlines() if line.strip()]) >= 3, (
        "what it answers for, owns, keeps true"
    )
    exported = [
        node.value
        for node in door.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert len(exported) == 1
    assert ast.literal_eval(exported[0]), "__all__ lists the operations"


def knows_http(module: str) -> bool:
    return is_routes(module) or any(is_in(module, door) for door in ("holdfast.app", "holdfast.web"))


def test_only_rooms_that_know_http_import_the_web_framework() -> None:
    found = {
        module for framework in WEB_FRAMEWORK for module in importers(framework) if not knows_http(module)
    }
    assert found <= {"holdfast.platform.http"}


def test_only_rooms_that_know_http_import_the_layer_above_the_web_framework() -> None:
    """The command line stands above the app: it starts servers and prints their documents."""
    found = {module for module in importers("holdfast.platform.http") if not knows_http(module)}
    assert {
        module
        for module in found
        if not (is_in(module, "holdfast.platform") or is_in(module, "holdfast.cli"))
    } == set()


@pytest.mark.parametrize("headless", ["holdfast.engine", *(f"holdfast.{domain}" for domain in DOMAINS)])
def test_what_has_no_head_reaches_no_web_framework_by_any_way(headless: str) -> None:
    known = graph()
    ways = {
        " -> ".join(way)
        for framework in WEB_FRAMEWORK
        if headless in known.modules and framework in known.modules
        if (way := known.find_shortest_chain(headless, framework))
    }
    assert ways == set()


def test_only_app_serves_the_front_ends() -> None:
    web = {module for module in graph().modules if is_in(module, "holdfast.web")}
    found = {
        importer for module in web for importer in importers(module) if not is_in(importer, "holdfast.web")
    }
    assert {importer for importer in found if not is_in(importer, "holdfast.app")} == set()


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_nothing_is_imported_by_a_name_in_a_string(path: Path) -> None:
    """`import_module("holdfast.booking.holds")` would pass every rule above."""
    names = {ast.unparse(node.func) for node in ast.walk(syntax(path)) if isinstance(node, ast.Call)}
    assert not names & {"__import__", "import_module", "importlib.import_module"}
