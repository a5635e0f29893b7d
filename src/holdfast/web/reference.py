"""The API reference: one page made from the OpenAPI document, with its own stylesheet and no script."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from holdfast.platform.http import ANYONE, HTML, Answer, Call, Routes, fresh

CSS = b"text/css; charset=utf-8"
# The page needs its own stylesheet and nothing else.
_PAGE_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
_HERE = "http://127.0.0.1:8000"
# Schemas may contain themselves; deeper than this a reader follows the document.
_DEPTH_MAX = 5
_SAMPLES = {
    "uuid": "0192f5a0-8c9e-7d3f-9a41-c6be50217d84",
    "date-time": "2026-12-24T20:00:00+01:00",
    "date": "2026-12-24",
}
_FORMATS = {"uuid": "UUID", "date-time": "time with offset", "date": "date"}

Json = Mapping[str, Any]


def docs_routes(document: Json) -> Routes:
    """`GET /docs` and `GET /docs.css`, rendered once."""
    page, style = docs_page(document), files(__package__).joinpath("docs.css").read_bytes()
    page_tag, style_tag = _tag(page), _tag(style)
    routes = Routes("documents")

    @routes.get("/docs", who=ANYONE, query=None, answers={200: "text/html"}, listed=False)
    async def docs(call: Call[None]) -> Answer:
        answer = fresh(call, page, page_tag, media=HTML)
        answer.headers = (*answer.headers, (b"content-security-policy", _PAGE_POLICY))
        return answer

    @routes.get("/docs.css", who=ANYONE, query=None, answers={200: "text/css"}, listed=False)
    async def docs_style(call: Call[None]) -> Answer:
        return fresh(call, style, style_tag, media=CSS)

    return routes


def docs_page(document: Json) -> bytes:
    """The reference of this OpenAPI 3.1 document as an HTML page, UTF-8."""
    environment = Environment(
        loader=PackageLoader("holdfast.web", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    environment.filters["ticks"] = _ticks
    reader = _Reader(document)
    page = environment.get_template("docs.html").render(
        info=document["info"],
        about=document["info"].get("description", ""),
        groups=reader.groups(),
        errors=reader.errors(),
        schemes=reader.schemes(),
    )
    return page.encode()


def _tag(content: bytes) -> bytes:
    return b'"%s"' % sha256(content).hexdigest()[:32].encode()


def _ticks(text: str) -> Markup:
    # `code` in a description becomes <code>; everything else is escaped.
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def _prose(text: str) -> Markup:
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return Markup("\n").join(
        Markup("<p>{}</p>").format(_ticks(paragraph)) for paragraph in paragraphs if paragraph
    )


class _Reader:
    # Turns the document into what the template shows: groups of operations, rows of fields, samples.
    def __init__(self, document: Json) -> None:
        self._document = document
        self._schemas: Json = document["components"]["schemas"]
        self._examples: Json = document["components"]["examples"]
        server = document["servers"][0]["url"] if document.get("servers") else "/"
        self._server = server.rstrip("/") if server.startswith("http") else _HERE

    def groups(self) -> list[dict[str, Any]]:
        groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in self._document.get("tags", ())}
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                shown = self._operation(path, method.upper(), operation)
                groups.setdefault(operation["tags"][0], []).append(shown)
        return [{"name": name, "operations": operations} for name, operations in groups.items() if operations]

    def errors(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for methods in self._document["paths"].values():
            for operation in methods.values():
                found.update(self._problems(operation))
        return sorted(found.values(), key=lambda error: (error["status"], error["code"]))

    def schemes(self) -> list[dict[str, str]]:
        schemes = self._document["components"].get("securitySchemes", {})
        return [
            {"name": name, "description": scheme.get("description", scheme.get("type", ""))}
            for name, scheme in schemes.items()
        ]

    def _operation(self, path: str, method: str, operation: Json) -> dict[str, Any]:
        body: Json = operation.get("requestBody", {})
        media, content = _first(body["content"]) if body else ("", {})
        schema = content.get("schema", {})
        sample = content.get("example", self._sample(schema, brief=True)) if body else None
        return {
            "id": operation["operationId"],
            "method": method,
            "path": path,
            "summary": operation["summary"],
            "description": operation.get("description", ""),
            "who": operation.get("x-who", "anyone"),
            "parameters": [self._parameter(parameter) for parameter in operation.get("parameters", ())],
            "body": list(self._fields(schema)) if schema else [],
            "body_about": self._target(schema).get("description", ""),
            "body_media": media,
            "body_required": body.get("required", False),
            "curl": self._curl(method, path, operation, media, sample),
            "answers": [
                self._answer(status, answer)
                for status, answer in operation["responses"].items()
                if int(status) < 400 or "application/problem+json" not in answer.get("content", {})
            ],
            "refusals": [value for _, value in self._problems(operation)],
        }

    def _parameter(self, parameter: Json) -> dict[str, Any]:
        # The pattern of a header is for programs; its description says the same in words.
        shown = {key: value for key, value in parameter["schema"].items() if key != "pattern"}
        row = self._row(parameter["name"], shown, required=parameter["required"])
        return {**row, "in": parameter["in"], "description": parameter.get("description", row["description"])}

    def _answer(self, status: str, answer: Json) -> dict[str, Any]:
        media, content = _first(answer.get("content", {}))
        schema = content.get("schema", {})
        is_json = media == "application/json"
        return {
            "status": status,
            "phrase": answer["description"],
            "media": media,
            "fields": list(self._fields(schema)) if is_json else [],
            "sample": _pretty(self._sample(schema)) if is_json and schema else "",
        }

    def _problems(self, operation: Json) -> Iterator[tuple[str, dict[str, Any]]]:
        for answer in operation["responses"].values():
            problem = answer.get("content", {}).get("application/problem+json", {})
            for code in problem.get("examples", {}):
                yield code, self._examples[code]["value"]

    def _target(self, schema: Json) -> Json:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
        if len(options) == 1:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return {**self._target(options[0]), **rest}
        return schema

    def _fields(self, schema: Json, prefix: str = "", depth: int = 0) -> Iterator[dict[str, Any]]:
        target = self._target(schema)
        if target.get("type") == "array" and not prefix:
            yield from self._fields(_items(target), "[].", depth)
            return
        for name, field, required, only in self._properties(target):
            row = self._row(prefix + name, field, required=required)
            yield {**row, "description": " ".join(filter(None, (row["description"], only)))}
            inner, dots = self._target(field), ""
            while inner.get("type") == "array":
                inner, dots = self._target(_items(inner)), dots + "[]"
            if depth < _DEPTH_MAX:
                yield from self._fields(inner, f"{prefix}{name}{dots}.", depth + 1)

    def _properties(self, target: Json) -> Iterator[tuple[str, Json, bool, str]]:
        # A union of objects has the fields of all; those that not every one has are marked with whose they are.
        variants = [self._target(option) for option in target.get("anyOf", [target])]
        names = dict.fromkeys(name for variant in variants for name in variant.get("properties", {}))
        for name in names:
            having = [variant for variant in variants if name in variant.get("properties", {})]
            fields = [variant["properties"][name] for variant in having]
            required = all(name in variant.get("required", ()) for variant in having)
            field: Json = fields[0] if all(field == fields[0] for field in fields) else {"anyOf": fields}
            owners = ", ".join(variant.get("title", "") for variant in having)
            yield name, field, required, "" if len(having) == len(variants) else f"Only for `{owners}`."

    def _row(self, name: str, schema: Json, *, required: bool) -> dict[str, Any]:
        target = self._target(schema)
        return {
            "name": name,
            "type": self._type(schema),
            "required": required,
            "bounds": _bounds(target),
            "default": "" if target.get("default") is None else _compact(target["default"]),
            "description": schema.get("description", target.get("description", "")),
        }

    def _type(self, schema: Json) -> str:
        if "anyOf" in schema:
            return " or ".join(dict.fromkeys(self._type(option) for option in schema["anyOf"]))
        target = self._target(schema)
        if "enum" in target:
            return " | ".join(_compact(value) for value in target["enum"])
        kind = target.get("type", "any JSON")
        if isinstance(kind, list):
            return " or ".join(kind)
        if kind == "array":
            item = self._type(_items(target))
            return f"list of {item}s" if item.isalpha() else f"list of {item}"
        return _FORMATS.get(target.get("format", ""), str(kind))

    def _sample(self, schema: Json, depth: int = 0, *, brief: bool = False) -> Any:
        # A brief sample has what is required and what its author gave an example for.
        target = self._target(schema)
        for known in ("examples", "enum"):
            if target.get(known):
                return target[known][0]
        if target.get("anyOf"):
            return self._sample(target["anyOf"][0], depth, brief=brief)
        match target.get("type"):
            case "object":
                required = target.get("required", ())
                return {
                    name: self._sample(field, depth + 1, brief=brief)
                    for name, field in target.get("properties", {}).items()
                    if depth < _DEPTH_MAX
                    and (not brief or name in required or "examples" in self._target(field))
                }
            case "array":
                items = _items(target)
                return [self._sample(items, depth + 1, brief=brief)] if items else []
            case "integer" | "number":
                return target.get("default") or max(target.get("minimum", 1), 1)
            case "boolean":
                return target.get("default", True)
            case "string":
                return target.get("default") or _SAMPLES.get(target.get("format", ""), "text")
        return None

    def _curl(self, method: str, path: str, operation: Json, media: str, sample: Any) -> str:
        url = self._server + path.replace("{", "$").replace("}", "")
        lines = [f'curl "{url}"' if method == "GET" else f'curl -X {method} "{url}"']
        if any(operation.get("security", ())):
            lines.append('-H "Authorization: Bearer $token"')
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        if "Idempotency-Key" in names:
            lines.append('-H "Idempotency-Key: $(uuidgen)"')
        if "If-Match" in names:
            lines.append("-H 'If-Match: \"1\"'")
        if media == "application/json":
            text = _pretty(sample).replace("'", "'\\''")
            lines += ["-H 'Content-Type: application/json'", f"-d '{text}'"]
        elif media:
            lines.append("--data-binary @file")
        return " \\\n  ".join(lines)


def _first(content: Json) -> tuple[str, Json]:
    # A body or an answer has one media type here, or none.
    return next(iter(content.items()), ("", {}))


def _items(array: Json) -> Json:
    # A tuple lists the schemas of its items, and forbids more by `false`.
    listed: list[Any] = [array.get("items"), *array.get("prefixItems", ())]
    return next((items for items in listed if isinstance(items, Mapping)), {})


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _bounds(schema: Json) -> str:
    texts = []
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        least, most = schema.get(low), schema.get(high)
        if least is not None and least == most:
            texts.append(f"exactly {least:,}{unit}")
        elif least is not None and most is not None:
            texts.append(f"{least:,} to {most:,}{unit}")
        elif most is not None:
            texts.append(f"at most {most:,}{unit}")
        elif least is not None:
            texts.append(f"at least {least:,}{unit}")
    if "pattern" in schema:
        texts.append(f"`{schema['pattern']}`")
    return ", ".join(texts)
