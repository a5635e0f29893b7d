"""The source tree as the architecture tests see it. Whatever does not exist yet is simply not in these lists."""

import ast
from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "holdfast"
NOT_DOMAINS = {"cli", "app", "engine", "web", "migrations", "platform"}
DOMAINS = sorted({door.parent.name for door in SOURCE.glob("*/__init__.py")} - NOT_DOMAINS)
PYTHON = sorted(SOURCE.rglob("*.py"))
SQL = sorted(path for path in SOURCE.rglob("*.sql") if "migrations" not in path.parts)
MIGRATIONS = sorted((SOURCE / "migrations").glob("[0-9]*.sql"))


@cache
def graph() -> grimp.ImportGraph:
    """Who imports whom, other people's packages included by their first name only (`starlette`)."""
    return grimp.build_graph("holdfast", include_external_packages=True, cache_dir=None)


@cache
def syntax(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """`booking/holds.py`: what a person calls the file, and the id of its test."""
    return str(path.relative_to(SOURCE))


def part_of(path: Path) -> str:
    """The first name below the package: the domain that a file belongs to, or `platform`, or `engine`."""
    return path.relative_to(SOURCE).parts[0].removesuffix(path.suffix)
