"""What the judge found: a rule that was broken, and the smallest part of the history that shows it."""

from dataclasses import dataclass, field

from tests.simulation.history import Call

CALLS_SHOWN_MAX = 40


@dataclass
class Violation:
    """A rule that was broken, in a sentence, and the calls that show it."""

    rule: str
    says: str
    calls: list[Call] = field(default_factory=list)

    def __str__(self) -> str:
        calls = sorted(self.calls, key=lambda c: (c.start, c.number))
        lines = [f"{self.rule}: {self.says}", *(f"    {line_of(call)}" for call in calls[:CALLS_SHOWN_MAX])]
        if len(calls) > CALLS_SHOWN_MAX:
            lines.append(f"    and {len(calls) - CALLS_SHOWN_MAX} more")
        return "\n".join(lines)


def line_of(call: Call) -> str:
    """A call in one line: number, times, who, what was asked, what was answered."""
    asked = {**call.body, **({"if_match": call.version} if call.version else {})}
    answered = {k: v for k, v in call.answer.items() if k not in ("id", "created_at", "total")}
    told = "no answer" if not call.status else f"{call.status} {answered or ''}"
    target = f" {call.target[-6:]}" if call.target else ""
    made = f" [{call.answer['id'][-6:]}]" if "id" in call.answer else ""
    key = f" key {call.key[-6:]}" if call.key else ""
    who = f"{call.client}{' (staff)' if call.staff else ''}"
    return f"{call.number:>6} {call.start:9.3f}-{call.end:.3f} {who} {call.do}{target}{key} {asked or ''} -> {told}{made}"
