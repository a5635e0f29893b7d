"""What the engine can answer when it says no is known, unambiguous and written down."""

import importlib
import pkgutil
from collections import Counter

import holdfast
from holdfast.platform.errors import REFUSALS
from tests.architecture.tree import ROOT


def every_code() -> Counter[str]:
    """The codes of all refusals of the source, each counted once for every class that has it."""
    for module in pkgutil.walk_packages(holdfast.__path__, "holdfast."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return Counter(refusal.code for refusal in REFUSALS if refusal.__module__.startswith("holdfast."))


def test_a_code_means_one_thing() -> None:
    assert {code for code, classes in every_code().items() if classes > 1} == set()


def test_every_code_is_in_the_docs() -> None:
    documented = (ROOT / "docs" / "api" / "errors.md").read_text(encoding="utf-8")
    assert {code for code in every_code() if f"`{code}`" not in documented} == set()
