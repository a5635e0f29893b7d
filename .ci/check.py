"""Everything that can be said about the code without running it: `./holdfast check`.

Each step runs, each is reported, and the exit code says whether all of them were content. To add a program, add a row
to `PROGRAMS`; to add a generated file, name it in `DOCUMENTS`.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
STEP_SECONDS_MAX = 600
FILE_BYTES_MAX = 1 << 20

DOCUMENTS = ("openapi", "errors", "settings", "schema")
PROGRAMS: list[tuple[str, list[str]]] = [
    ("format", [PYTHON, "-m", "ruff", "format", "--check", "--output-format=concise", "."]),
    ("lint", [PYTHON, "-m", "ruff", "check", "--output-format=concise", "."]),
    ("types", [PYTHON, "-m", "mypy"]),
    ("import order", [str(Path(PYTHON).with_name("lint-imports")), "--no-logo", "--no-cache"]),
    # Generated files hold what the code makes now; `./holdfast fix` writes them.
    *((f"fresh {name}", [PYTHON, "-m", "holdfast", "document", name]) for name in DOCUMENTS),
]

# Spelt so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:[h]ome|[U]sers|[w]ork)/\w|(?<![\w.~/-])/[r]oot/|/[o]pt/pypi")
REGISTRY = re.compile(
    r"pypi\.[o]rg|pythonhosted\.[o]rg|registry\.npmjs\.[o]rg|--(?:extra-)?index-[u]rl|--find-[l]inks"
)


def run(command: list[str]) -> str:
    """What is wrong in the eyes of a program, as it says it itself; empty when it is content."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS_MAX,
        check=False,
    )
    said = (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"
    return said if done.returncode else ""


def tracked() -> list[Path]:
    """Every file that is, or by the next `git add` would be, in the repository."""
    # CI containers often run as another user than the owner of the checkout, which git takes for an attack.
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return sorted(path for name in set(listed.split("\0")) if name and (path := ROOT / name).is_file())


def without(pattern: re.Pattern[str]) -> str:
    """The lines that match, as `file:line: text`."""
    found = []
    for path in tracked():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        name = path.relative_to(ROOT)
        found += [
            f"{name}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(lines, 1)
            if pattern.search(line)
        ]
    return "\n".join(found)


def small() -> str:
    """The files that are too large for a repository."""
    sizes = {path: path.stat().st_size for path in tracked()}
    return "\n".join(
        f"{path.relative_to(ROOT)}: {size:,} bytes" for path, size in sizes.items() if size > FILE_BYTES_MAX
    )


def no_lock() -> str:
    """requirements/*.txt are the pins; a uv.lock beside them would hold addresses and drift."""
    return "\n".join(str(path.relative_to(ROOT)) for path in tracked() if path.name == "uv.lock")


def steps() -> list[tuple[str, Callable[[], str]]]:
    return [
        *((name, partial(run, command)) for name, command in PROGRAMS),
        ("no path of one machine", partial(without, MACHINE_PATH)),
        ("no address of a registry", partial(without, REGISTRY)),
        ("no file above 1 MiB", small),
        ("no uv.lock", no_lock),
    ]


def main() -> int:
    failed = []
    for name, step in steps():
        began = time.monotonic()
        try:
            wrong = step()
        except (OSError, subprocess.SubprocessError) as error:
            wrong = str(error)
        print(f"{'failed' if wrong else 'ok':6}  {name}  ({time.monotonic() - began:.1f} s)", flush=True)
        if wrong:
            failed.append(name)
            print("        " + wrong.replace("\n", "\n        "), flush=True)
    print(f"check: failed: {', '.join(failed)}" if failed else "check: all ok")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
