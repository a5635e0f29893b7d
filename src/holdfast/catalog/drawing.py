"""A plan as the API shows it, and where a map draws what has no seats."""

from typing import Any

from holdfast.catalog.plan import AREA_GAP, Box, Plan, Row, standing_size


def layout_json(plan: Plan) -> dict[str, Any]:
    """The plan as the API shows it: areas, rows and seats in the order of ordinals, coordinates in metres.

    Seat i of a row has the ordinal `first + i`; a row with seats for who needs them says what each is for in `access`.
    A standing area has a `box` [left, front, right, back] to draw.
    """
    boxes = _standing_boxes(plan)
    areas: list[dict[str, Any]] = []
    for area in plan.areas:
        shown: dict[str, Any] = {
            "id": area.number,
            "name": area.name,
            "kind": area.kind,
            "capacity": area.capacity,
        }
        if area.kind == "standing":
            shown["box"] = boxes[area.number]
        else:
            shown["first"] = area.first
            shown["rows"] = [_row_json(row) for row in area.rows]
        areas.append(shown)
    return {"total_seats": plan.seats, "capacity": plan.capacity, "focal": plan.focal, "areas": areas}


def _row_json(row: Row) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "label": row.label,
        "first": row.first,
        "numbers": row.numbers,
        "xs": row.xs.tolist(),
        "ys": row.ys.tolist(),
    }
    if row.access is not None:
        shown["access"] = row.access
    return shown


def _standing_boxes(plan: Plan) -> dict[int, Box]:
    """Where to draw standing areas: before the seats if they come first and fit, else behind everything."""
    rows = [row for area in plan.areas for row in area.rows]
    front = plan.focal[1] + AREA_GAP
    rear = max((max(row.ys) for row in rows), default=front) + AREA_GAP
    # Seats at the sides, as in a theatre's boxes, do not stand in the way of the floor between them.
    side = 1 + max(
        (standing_size(area.capacity)[0] / 2 for area in plan.areas if not area.seats), default=0.0
    )
    seats_from = min(
        (y for row in rows for x, y in zip(row.xs, row.ys, strict=True) if abs(x - plan.focal[0]) <= side),
        default=float("inf"),
    )
    boxes: dict[int, Box] = {}
    before_seats = True
    for area in plan.areas:
        if area.kind == "seated":
            before_seats = False
            continue
        width, depth = standing_size(area.capacity)
        if before_seats and front + depth <= seats_from - 1:
            begin, front = front, front + depth + AREA_GAP
        else:
            begin, rear = rear, rear + depth + AREA_GAP
        left = plan.focal[0] - width / 2
        boxes[area.number] = (
            round(left, 2),
            round(begin, 2),
            round(left + width, 2),
            round(begin + depth, 2),
        )
    return boxes
