"""The OpenAPI 3.1 document, made from the declarations of the routes alone: no server, no database, always the same.

`openapi(route_sets)` is the document; `document_routes` serves it at `/openapi.json` with an entity tag.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import msgspec

from holdfast.platform.calls import PROBLEM_TYPE, Answer, Call, fresh
from holdfast.platform.errors import Invalid, Refusal, UnknownField
from holdfast.platform.routing import ANYONE, IF_NONE_MATCH, PATH_TEXT_MAX, HeaderParameter, Route, Routes

_REF = "#/components/schemas/{name}"
_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "str": {"type": "string", "minLength": 1, "maxLength": PATH_TEXT_MAX},
    "int": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
}
_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "A refusal as RFC 9457 has it. Programs go by `code`; further members depend on it.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "Where the code is explained."},
        "title": {"type": "string", "description": "The same sentence for every refusal with this code."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "description": "Stable, for programs."},
        "detail": {"type": "string", "description": "About this very case, for people."},
        "request_id": {"type": "string", "description": "Quote it when you ask for help."},
        "errors": {
            "type": "array",
            "description": "What is wrong with the request, at least the first fault.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "RFC 6901 pointer to the field."},
                    "in": {
                        "type": "string",
                        "enum": ["query", "header"],
                        "description": "Where the field is, when it is not in the body.",
                    },
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail", "request_id"],
}
# What nearly every answer has stands once, among the components: written out, it was nine tenths of the document.
_HEADERS = {
    "X-Request-Id": {
        "description": "The id sent with the request, or a fresh one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
}
_REQUEST_ID_HEADER = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}


def openapi(
    route_sets: Iterable[Routes],
    *,
    title: str = "Holdfast",
    version: str = "0",
    description: str = "",
    servers: Sequence[str] = ("/",),
    security_schemes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The whole document as JSON values. ValueError when two operations or two Structs share a name."""
    routes = [route for routes in route_sets for route in routes.all if route.listed]
    schemes = dict(security_schemes or {})
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for route in routes:
        if route.operation_id in taken:
            raise ValueError(f"two operations are called {route.operation_id}")
        taken.add(route.operation_id)
        unknown = {name for name in route.who.security if name} - schemes.keys()
        if unknown:
            raise ValueError(f"{route.method} {route.path}: no security scheme is called {sorted(unknown)}")
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, schemas)
    info: dict[str, Any] = {"title": title, "version": version}
    if description:
        info["description"] = description
    document = {
        "openapi": "3.1.0",
        "info": info,
        "servers": [{"url": url} for url in servers],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "examples": _examples(routes),
            "headers": _HEADERS,
            "securitySchemes": schemes,
        },
    }
    # Defaults may be tuples and the like; this makes them what a reader of the JSON gets.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def document_routes(document: Mapping[str, Any]) -> Routes:
    """`GET /openapi.json`: the document, encoded once."""
    encoded = msgspec.json.encode(document)
    tag = b'"%s"' % sha256(encoded).hexdigest()[:32].encode()
    routes = Routes("documents")

    @routes.get("/openapi.json", who=ANYONE, query=None, listed=False)
    async def openapi_document(call: Call[None]) -> Answer:
        return fresh(call, encoded, tag)

    return routes


class _Schemas:
    # Every type that the routes name, and what each refers to. Query Structs are spread into parameters instead.
    def __init__(self, routes: Sequence[Route]) -> None:
        kinds = [route.body for route in routes if _is_json_body(route)]
        kinds += [kind for route in routes for kind in route.answers.values() if _is_typed(kind)]
        self._kinds = kinds
        schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
        self._schemas = schemas
        self.components: dict[str, Any] = {"Problem": _PROBLEM}
        self._take(components)

    def _take(self, components: Mapping[str, Any]) -> None:
        for name, schema in sorted(components.items()):
            # msgspec falls back to the module's path when two Structs have one name, which renames both.
            if "." in name or self.components.get(name, schema) != schema:
                raise ValueError(f"two Structs share the name of {name}")
            self.components[name] = schema

    def of(self, kind: Any) -> dict[str, Any]:
        for known, schema in zip(self._kinds, self._schemas, strict=True):
            if known is kind or known == kind:
                return schema
        raise KeyError(kind)

    def query_parameters(self, kind: Any) -> list[dict[str, Any]]:
        (schema,), components = msgspec.json.schema_components([kind], ref_template=_REF)
        own = components.pop(schema["$ref"].rpartition("/")[2])
        self._take(components)
        parameters = []
        for name, properties in own["properties"].items():
            shown = {key: value for key, value in properties.items() if key != "description"}
            parameter = {
                "name": name,
                "in": "query",
                "required": name in own.get("required", ()),
                "schema": shown,
            }
            if "description" in properties:
                parameter["description"] = properties["description"]
            parameters.append(parameter)
        return parameters


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        "x-who": route.who.name,
    }
    if route.description:
        operation["description"] = route.description
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[kind]}
        for name, kind, _ in route.parameters
    ]
    if route.query is not None:
        parameters += schemas.query_parameters(route.query)
    parameters += [_header(header) for header in route.headers]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _request_body(route, schemas)
    refusals = _refusals(route) if route.problems is None else _refusals_of_its_own(route)
    operation["responses"] = refusals | _answers(route, schemas)
    operation["security"] = [{name: []} if name else {} for name in route.who.security]
    return operation


def _header(header: HeaderParameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if header.pattern:
        schema["pattern"] = f"^({header.pattern})$"
    return {
        "name": header.name,
        "in": "header",
        "required": header.required,
        "description": header.description,
        "schema": schema,
    }


def _request_body(route: Route, schemas: _Schemas) -> dict[str, Any]:
    if route.body_is_raw:
        return {"required": False, "content": {"*/*": {"schema": {}}}}
    content: dict[str, Any] = {"schema": schemas.of(route.body) if _is_json_body(route) else {}}
    if route.example is not None:
        content["example"] = route.example
    return {"required": not route.body_optional, "content": {"application/json": content}}


def _answers(route: Route, schemas: _Schemas) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, kind in route.answers.items():
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _REQUEST_ID_HEADER}
        if isinstance(kind, str):
            answer["content"] = {kind: {"schema": {"type": "string"}}}
        elif kind is not None:
            answer["content"] = {"application/json": {"schema": schemas.of(kind) if _is_typed(kind) else {}}}
        answers[str(status)] = answer
    if IF_NONE_MATCH in route.headers:
        answers["304"] = {"description": HTTPStatus(304).phrase, "headers": _REQUEST_ID_HEADER}
    return answers


def _refusals(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[type[Refusal]]] = {}
    for refusal in route.all_refusals():
        by_status.setdefault(refusal.status, []).append(refusal)
    answers = {}
    for status, refusals in sorted(by_status.items()):
        headers: dict[str, Any] = dict(_REQUEST_ID_HEADER)
        if status in (429, 503):
            headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
        answers[str(status)] = {
            "description": ", ".join(f"`{refusal.code}`" for refusal in refusals),
            "headers": headers,
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REF.format(name="Problem")},
                    "examples": {
                        refusal.code: {"$ref": f"#/components/examples/{refusal.code}"}
                        for refusal in refusals
                    },
                }
            },
        }
    return answers


def _refusals_of_its_own(route: Route) -> dict[str, Any]:
    """The refusals of a route that renders them itself; what they look like stands in its answers, where it stands."""
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": _REQUEST_ID_HEADER,
            "content": {"application/json": {"schema": {}}},
        }
        for status in sorted({refusal.status for refusal in route.all_refusals()})
    }


def _examples(routes: Sequence[Route]) -> dict[str, Any]:
    refusals = {
        refusal.code: refusal
        for route in routes
        if route.problems is None
        for refusal in route.all_refusals()
    }
    return {code: _example(refusals[code]) for code in sorted(refusals)}


def _example(refusal: type[Refusal]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": PROBLEM_TYPE + refusal.code,
        "title": refusal.title,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.title,
        "request_id": "0192f5a08c9e7d3f9a41c6be50217d84",
    }
    if issubclass(refusal, Invalid | UnknownField):
        value["errors"] = [{"pointer": "/field", "detail": refusal.title}]
    value |= refusal.example
    return {"summary": refusal.title, "value": value}


def _is_json_body(route: Route) -> bool:
    return route.body is not None and route.body not in (bytes, msgspec.Raw)


def _is_typed(kind: Any) -> bool:
    return kind is not None and kind is not msgspec.Raw and not isinstance(kind, str)
