"""How attempts ended that leave no row and no fact, counted by the process that saw them: refusals, holds that were not paid."""

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

# Beyond this many (show, outcome) between two takings the rarest tail of shows is not counted.
ENDS_MAX = 10_000
_NO_SHOW = "show_not_found"


class Ends:
    """Counts by show and outcome, until somebody takes the counts to write them down."""

    def __init__(self) -> None:
        self._counted: Counter[tuple[UUID, str]] = Counter()

    def add(self, show_id: UUID, outcome: str, times: int = 1) -> None:
        """Counts an end. What is asked of shows that do not exist is nobody's figure."""
        key = (show_id, outcome)
        if outcome != _NO_SHOW and (key in self._counted or len(self._counted) < ENDS_MAX):
            self._counted[key] += times

    def take(self) -> Mapping[tuple[UUID, str], int]:
        """What was counted since the last time."""
        counted, self._counted = self._counted, Counter()
        return counted

    def give_back(self, counted: Mapping[tuple[UUID, str], int]) -> None:
        """Counts again what could not be written down."""
        for (show_id, outcome), times in counted.items():
            self.add(show_id, outcome, times)
