"""What a request brings, read strictly: JSON bodies and query strings become msgspec Structs or a refusal.

Strict means that `"2"` is not 2, 2.0 is not an integer and unknown fields are refused, each with an RFC 6901 pointer to
the field. A type that could let through what PostgreSQL cannot store (unbounded integers, times without offset, text
without a limit) is refused when the route is declared, so no request has to find out.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from holdfast.platform.errors import Invalid, Refusal, UnknownField

QUERY_FIELDS_MAX = 50
SHOWN_NAME_MAX = 100

_NUL_ESCAPED = b"\\u0000"
_MESSAGE = re.compile(r"(?s)(.*?)(?: - at (?:`key` in )?`(\$[^`]*)`)?")
_PATH_PART = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")
_FIELD_MESSAGE = re.compile(r"(?s)Object (contains unknown|missing required) field `(.*)`")
# Anchored and without repetition that has no end: such a pattern bounds the length by itself.
_BOUNDED_PATTERN = re.compile(r"\^(?:(?!,\})[^*+])+\$")
_WHOLE_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
_BEGINS_WITH_DATE = re.compile(r"\d{4}-\d\d-\d\d\D", re.ASCII)


def pointer_of(path: str) -> str:
    """The RFC 6901 pointer for msgspec's path: `$.areas[0].name` is `/areas/0/name`.

    msgspec does not say which key of a mapping it stumbled over (`[...]`): the pointer then ends at the mapping.
    """
    parts = []
    for name, index, unknown in _PATH_PART.findall(path):
        if unknown:
            break
        parts.append("/" + (index or escaped(name)))
    return "".join(parts)


def escaped(name: str) -> str:
    """One reference token of an RFC 6901 pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def refusal_of(error: Exception, where: str = "") -> Refusal:
    """What to answer when decoding failed; `where` is empty for the body, else `query` or `header`."""
    pointer = ""
    if isinstance(error, msgspec.ValidationError):
        message, path = _MESSAGE.fullmatch(str(error)).groups()  # type: ignore[union-attr]
        pointer = pointer_of(path or "")
        detail = message + "."
        about_field = _FIELD_MESSAGE.fullmatch(message)
        if about_field:
            problem, name = about_field[1], about_field[2][:SHOWN_NAME_MAX]
            pointer += "/" + escaped(name)
            if problem == "contains unknown":
                return unknown_field(name, pointer, where)
            detail = f"The field `{name}` is required."
    elif isinstance(error, UnicodeDecodeError):
        detail = "The text is not valid UTF-8."
    elif isinstance(error, RecursionError):
        detail = "The JSON is nested too deeply."
    elif isinstance(error, msgspec.DecodeError):
        detail = str(error) + "."
    else:
        detail = "The value is not valid."
    return invalid(detail, pointer, where)


def invalid(detail: str, pointer: str = "", where: str = "") -> Invalid:
    """400 `invalid`; the error says `in: query` or `in: header` when the fault is not in the body."""
    entry = {"pointer": pointer, "detail": detail}
    if where:
        entry["in"] = where
    return Invalid(detail, errors=[entry])


def unknown_field(name: str, pointer: str, where: str = "") -> UnknownField:
    """400 `unknown_field` with the pointer to the field that nobody reads."""
    detail = f"The field `{name}` is not known here."
    entry = {"pointer": pointer, "detail": detail}
    if where:
        entry["in"] = where
    return UnknownField(detail, errors=[entry])


def body_reader(kind: Any) -> Callable[[bytes], Any]:
    """A function from the bytes of a body to a value of `kind`. It raises `Invalid` or `UnknownField`."""
    decode = msgspec.json.Decoder(kind).decode
    look_always = _needs_a_look(kind)

    def read(raw: bytes) -> Any:
        try:
            value = decode(raw)
            if look_always or _NUL_ESCAPED in raw:
                _refuse_unstorable(value, "")
        except (ValueError, RecursionError) as error:
            raise refusal_of(error) from None
        return value

    return read


def query_reader(kind: Any) -> Callable[[bytes], Any]:
    """A function from a raw query string to the Struct `kind`. It raises `Invalid` or `UnknownField`.

    A list field takes a parameter that is repeated; any other parameter may stand once.
    """
    fields = {field.encode_name: field.type for field in inspect.type_info(kind).fields}  # type: ignore[attr-defined]
    lists = {name for name, info in fields.items() if _has(info, inspect.ListType)}
    numbers = {name for name, info in fields.items() if _has(info, inspect.IntType)}
    moments = {name for name, info in fields.items() if _has(info, inspect.DateTimeType)}
    preset = None
    if kind.__struct_config__.frozen and all(not field.required for field in inspect.type_info(kind).fields):  # type: ignore[attr-defined]
        preset = kind()

    def read(raw: bytes) -> Any:
        if not raw and preset is not None:
            return preset
        try:
            given = _query_values(raw, lists)
            for name in numbers.intersection(given):
                if not isinstance(given[name], str) or not _WHOLE_NUMBER.fullmatch(given[name]):
                    raise invalid("Expected a whole number.", "/" + escaped(name), "query")
            for name in moments.intersection(given):
                # msgspec would take a number for seconds since 1970.
                if not isinstance(given[name], str) or not _BEGINS_WITH_DATE.match(given[name]):
                    raise invalid("Expected an RFC 3339 time with an offset.", "/" + escaped(name), "query")
            return msgspec.convert(given, kind, strict=False)
        except (ValueError, RecursionError) as error:
            raise refusal_of(error, "query") from None

    return read


def _query_values(raw: bytes, lists: set[str]) -> dict[str, Any]:
    pairs = parse_qsl(
        raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
    )
    values: dict[str, Any] = {}
    for name, value in pairs:
        if "\0" in value:
            raise invalid("A text cannot hold the character U+0000.", "/" + escaped(name), "query")
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise invalid("The parameter is given twice.", "/" + escaped(name), "query")
        else:
            values[name] = value
    return values


def _refuse_unstorable(value: Any, pointer: str) -> None:
    # PostgreSQL's text cannot hold NUL, and a moment whose UTC form lies outside the years 1 to 9999 cannot be sent.
    if isinstance(value, str):
        if "\0" in value:
            raise invalid("A text cannot hold the character U+0000.", pointer)
    elif isinstance(value, datetime):
        try:
            value.astimezone(UTC)
        except OverflowError:
            raise invalid("The time is out of range.", pointer) from None
    elif isinstance(value, msgspec.Struct):
        for field, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            _refuse_unstorable(getattr(value, field), f"{pointer}/{escaped(name)}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key, pointer)
            _refuse_unstorable(item, f"{pointer}/{escaped(str(key))}")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            _refuse_unstorable(item, f"{pointer}/{index}")
    elif isinstance(value, msgspec.Raw):
        _refuse_unstorable(msgspec.json.decode(value), pointer)


def check_request_type(kind: Any, where: str) -> None:
    """Raises TypeError unless every value of `kind` that decodes can also be stored.

    Integers carry both bounds, texts and lists a `max_length`, times `tz=True`, and Structs
    `forbid_unknown_fields=True`. `where` names the route in the message.
    """
    for name, info in _types_within(inspect.type_info(kind), ""):
        fault = _fault_of(info)
        if fault:
            raise TypeError(f"{where}: {name or 'the body'} {fault}")


def _fault_of(info: inspect.Type) -> str | None:
    match info:
        case inspect.IntType():
            # msgspec itself refuses bounds beyond 64 bits, which is PostgreSQL's bigint.
            if (info.ge, info.gt).count(None) == 2 or (info.le, info.lt).count(None) == 2:
                return "needs bounds: Annotated[int, Meta(ge=..., le=...)]"
        case inspect.StrType() if info.max_length is None and not _BOUNDED_PATTERN.fullmatch(
            info.pattern or ""
        ):
            return "needs a limit: Annotated[str, Meta(max_length=...)]"
        case inspect.CollectionType() | inspect.DictType() if info.max_length is None:
            return "needs a limit: Annotated[list[...], Meta(max_length=...)]"
        case inspect.DateTimeType() if info.tz is not True:
            return "needs an offset: Annotated[datetime, Meta(tz=True)]"
        case inspect.StructType() if not info.forbid_unknown_fields:
            return f"lets unknown fields pass: {info.cls.__name__} needs forbid_unknown_fields=True"
        case inspect.DecimalType():
            return "is a Decimal: money is integer minor units"
    return None


def _types_within(
    info: inspect.Type, name: str, seen: frozenset[type] = frozenset()
) -> Iterator[tuple[str, inspect.Type]]:
    if isinstance(info, inspect.Metadata):
        info = info.type
    yield name, info
    if isinstance(info, inspect.StructType):
        if info.cls in seen:
            return
        for field in info.fields:
            yield from _types_within(field.type, f"{name}.{field.encode_name}".lstrip("."), seen | {info.cls})
    elif isinstance(info, inspect.UnionType):
        for option in info.types:
            yield from _types_within(option, name, seen)
    elif isinstance(info, inspect.CollectionType):
        yield from _types_within(info.item_type, f"{name}[]", seen)
    elif isinstance(info, inspect.DictType):
        yield from _types_within(info.key_type, f"{name} (key)", seen)
        yield from _types_within(info.value_type, f"{name}{{}}", seen)


def _has(info: inspect.Type, kind: type[inspect.Type]) -> bool:
    # Only the parameter itself: an Optional and its Annotated count, what stands inside a list does not.
    if isinstance(info, inspect.Metadata):
        return _has(info.type, kind)
    if isinstance(info, inspect.UnionType):
        return any(_has(option, kind) for option in info.types)
    return isinstance(info, kind)


def _needs_a_look(kind: Any) -> bool:
    # NUL can only come in as the escape \u0000, which a search of the bytes finds. Times, and parts that msgspec does
    # not decode, have to be looked at.
    looked_at = inspect.DateTimeType | inspect.RawType
    return any(isinstance(info, looked_at) for _, info in _types_within(inspect.type_info(kind), ""))
