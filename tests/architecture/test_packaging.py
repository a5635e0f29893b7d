"""What a wheel asks for and what a checkout installs are the same."""

import tomllib

from tests.architecture.tree import ROOT


def test_the_wheel_needs_what_the_checkout_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements" / "run.in").read_text(encoding="utf-8").replace('"', "'").splitlines()
    assert project["dependencies"] == [line for line in lines if line and not line.startswith("#")]


def test_every_pin_has_a_hash_and_no_address() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        pins = path.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
        assert pins
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
