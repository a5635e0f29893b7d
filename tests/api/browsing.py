"""A browser without script, without pictures, and with the standard library alone: pages are parsed, forms are filled in."""

from copy import deepcopy
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

HOPS_MAX = 5
# Elements with an address that the browser itself asks for.
LOADING = {
    "img": ("src", "srcset"),
    "script": ("src",),
    "link": ("href",),
    "iframe": ("src",),
    "source": ("src",),
}
VOID = {"input", "img", "meta", "link", "br"}


@dataclass
class Form:
    """A form as it stands on the page; `fields` are what it is sent with, in order, as they are filled in."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)

    def fill(self, **values: str) -> "Form":
        """Fills in fields by their names, and ticks boxes that are there by their values."""
        for name, value in values.items():
            known = self.choices.get(name)
            assert known is None or value in known, f"{name} can be {known}, not {value}"
            assert known is not None or any(name == each for each, _ in self.fields), f"no field {name}"
            self.fields = [each for each in self.fields if each[0] != name] + [(name, value)]
        return self

    def tick(self, name: str, *values: str) -> "Form":
        """Ticks several boxes of one name."""
        assert set(values) <= set(self.choices[name])
        self.fields += [(name, value) for value in values]
        return self


class Page(HTMLParser):
    """What a browser knows of a page."""

    def __init__(self, address: str, answer: httpx.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.address, self.answer, self.status, self.source = address, answer, answer.status_code, answer.text
        self.links: dict[str, str] = {}
        self.forms: list[Form] = []
        self.loads: list[str] = []
        self.refresh: str | None = None
        self.metas: dict[str, str] = {}
        self.data: dict[str, str] = {}
        self.faults: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._form: Form | None = None
        self._select: str | None = None
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append((tag, a))
        self.faults += [f"<{tag} {name}>" for name in a if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in a and "json" not in a.get("type", "")):
            self.faults.append(f"inline <{tag}>")
        for name in LOADING.get(tag, ()):
            if a.get(name) and a.get("rel") != "canonical":
                self.loads += [each.split()[0] for each in a[name].split(", ")]
        if tag == "meta" and a.get("http-equiv") == "refresh":
            self.refresh = a["content"]
        elif tag == "meta":
            self.metas[a.get("property", a.get("name", ""))] = a.get("content", "")
        elif tag == "form":
            self._form = Form(urljoin(self.address, a.get("action", "")), a.get("method", "get"))
            self.forms.append(self._form)
        elif tag == "select":
            self._select = a["name"]
        elif tag in ("input", "button", "option") and self._form is not None and "disabled" not in a:
            self._take(self._form, tag, a)

    def _take(self, form: Form, tag: str, a: dict[str, str]) -> None:
        kind = a.get("type", "text")
        if tag == "option":
            return
        if "name" not in a:
            return
        name, value = a["name"], a.get("value", "on" if kind in ("checkbox", "radio") else "")
        if "required" in a:
            form.required.add(name)
        if tag == "button" or kind in ("checkbox", "radio"):
            form.choices.setdefault(name, []).append(value)
            if "checked" in a:
                form.fields.append((name, value))
        else:
            form.fields.append((name, value))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None

    def handle_data(self, text: str) -> None:
        tag, a = self._open[-1] if self._open else ("", {})
        if tag == "script":
            self.data[a.get("id", a.get("type", ""))] = text
            return
        self.words.append(text)
        if tag == "h1":
            self.headings.append(text.strip())
        if tag == "option" and self._form is not None and self._select:
            self._form.choices.setdefault(self._select, []).append(text)
            if "selected" in a:
                self._form.fields.append((self._select, text))
        for each, of in self._open:
            if each == "a" and "href" in of and text.strip():
                self.links[text.strip()] = urljoin(self.address, of["href"])

    def form(self, action: str) -> Form:
        """The one form whose address ends so, as it stands on the page."""
        found = [each for each in self.forms if urlsplit(each.action).path.endswith(action)]
        assert len(found) == 1, f"{len(found)} forms to {action} among {[each.action for each in self.forms]}"
        return deepcopy(found[0])


class Browser:
    """Goes from page to page as somebody does who has turned scripts off. Cookies are the client's."""

    def __init__(self, client: httpx.AsyncClient, **headers: str) -> None:
        self._client = client
        self._headers = headers

    async def go(self, address: str) -> Page:
        """The page at the address, wherever it leads."""
        return await self._follow("GET", address, None)

    async def send(self, form: Form) -> Page:
        """The page that comes of the form."""
        assert form.required <= {name for name, value in form.fields if value}, f"needed: {form.required}"
        body = urlencode(form.fields)
        if form.method == "get":
            return await self.go(f"{form.action}?{body}")
        return await self._follow("POST", form.action, body)

    async def _follow(self, method: str, address: str, body: str | None) -> Page:
        for _ in range(HOPS_MAX):
            parts = urlsplit(address)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            headers: dict[str, Any] = dict(self._headers)
            if body is not None:
                headers |= {
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Origin": "http://holdfast.test",
                }
            answer = await self._client.request(method, path, content=body, headers=headers)
            if answer.status_code != 303:
                return Page(path, answer)
            method, body, address = "GET", None, urljoin(path, answer.headers["location"])
        raise AssertionError("it leads round and round")
