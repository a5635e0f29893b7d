"""The picture of a run: rates with the span of their repeats, and what a booking costs in CPU. SVG by hand."""

from collections.abc import Sequence
from html import escape

from bench.figures import Spread
from bench.report import Result

WIDTH = 860
LABEL_WIDTH = 250
NUMBER_WIDTH = 150
BAR_HEIGHT = 16
LINE_HEIGHT = 24
TITLE_HEIGHT = 30
# Readable on white and on black: the page may be either.
_COLOURS = {
    "server": "#3b82c4",
    "database": "#d98032",
    "bar": "#4c9a6a",
    "text": "#7a828c",
    "whisker": "#8a5a5a",
}


def picture(result: Result) -> str:
    """The SVG of this run: a panel per scenario that has a rate, each to a scale of its own, then one of costs."""
    parts: list[str] = []
    y = 10
    for name, scenario in result.scenarios.items():
        figure, heading, _ = scenario.columns[0]
        rows = [
            (label, whole)
            for label, variant in scenario.variants.items()
            if (whole := variant.spread_of(figure))
        ]
        if heading.endswith("/s") and rows:
            y = _panel_of_rates(parts, f"{name}: {heading}", rows, y)
    costs = _costs(result)
    y = _panel_of_costs(parts, costs, y) if costs else y
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        f'font-family="sans-serif" font-size="13" fill="{_COLOURS["text"]}">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _costs(result: Result) -> list[tuple[str, float, float]]:
    rows = []
    for scenario_name in ("hot-standing", "hot-seats", "hot-best", "floor"):
        scenario = result.scenarios.get(scenario_name)
        for variant_name, variant in scenario.variants.items() if scenario else ():
            server, database = variant.spread_of("server_us"), variant.spread_of("database_us")
            if server and database:
                rows.append((f"{scenario_name}: {variant_name}", server.median, database.median))
    return rows


def _panel_of_rates(parts: list[str], title: str, rows: Sequence[tuple[str, Spread]], y: int) -> int:
    largest = max(whole.high for _, whole in rows) or 1.0
    y = _title(parts, title, y)
    for label, whole in rows:
        _label(parts, label, y)
        _bar(parts, 0, whole.median, largest, y, _COLOURS["bar"], whole.median)
        left, right, middle = _x(whole.low, largest), _x(whole.high, largest), y + BAR_HEIGHT / 2
        parts.append(
            f'<path d="M{left:.1f} {middle - 4}v8M{left:.1f} {middle}H{right:.1f}M{right:.1f} {middle - 4}v8" '
            f'stroke="{_COLOURS["whisker"]}" fill="none"/>'
        )
        _number(parts, f"{whole.median:,.0f} ({whole.low:,.0f} to {whole.high:,.0f})", y)
        y += LINE_HEIGHT
    return y + 10


def _panel_of_costs(parts: list[str], rows: Sequence[tuple[str, float, float]], y: int) -> int:
    largest = max(server + database for _, server, database in rows) or 1.0
    y = _title(parts, "CPU per booking, microseconds: server (blue), PostgreSQL (orange)", y)
    for label, server, database in rows:
        _label(parts, label, y)
        _bar(parts, 0, server, largest, y, _COLOURS["server"], server)
        _bar(parts, server, server + database, largest, y, _COLOURS["database"], database)
        _number(parts, f"{server:,.0f} + {database:,.0f}", y)
        y += LINE_HEIGHT
    return y + 10


def _x(value: float, largest: float) -> float:
    return LABEL_WIDTH + (WIDTH - LABEL_WIDTH - NUMBER_WIDTH) * value / largest


def _title(parts: list[str], text: str, y: int) -> int:
    parts.append(f'<text x="0" y="{y + 18}" font-weight="bold">{escape(text)}</text>')
    return y + TITLE_HEIGHT


def _label(parts: list[str], text: str, y: int) -> None:
    parts.append(f'<text x="{LABEL_WIDTH - 8}" y="{y + 13}" text-anchor="end">{escape(text)}</text>')


def _bar(
    parts: list[str], start: float, end: float, largest: float, y: int, colour: str, told: float
) -> None:
    left, right = _x(start, largest), _x(end, largest)
    parts.append(
        f'<rect x="{left:.1f}" y="{y}" width="{max(0.5, right - left):.1f}" height="{BAR_HEIGHT}" fill="{colour}">'
        f"<title>{told:,.0f}</title></rect>"
    )


def _number(parts: list[str], text: str, y: int) -> None:
    parts.append(f'<text x="{WIDTH - NUMBER_WIDTH + 8}" y="{y + 13}" font-size="11">{escape(text)}</text>')
