"""A shop as anybody would run it, and a browser to look at it."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser.seeing import TAKES
from tests.cli.running import Up, new_folder, until
from tests.conftest import program

Visit = Callable[..., Page]


# Of this folder, not of the session: playwright keeps an event loop in this thread, in which no other test could run one.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser without a single page."""
    path = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Up]:
    """`holdfast up` with the demonstration."""
    folder = new_folder()
    with Up(folder) as up:
        until(lambda: up.answers("/v1/shows"), "an answer")
        yield up
    shutil.rmtree(folder)


@pytest.fixture
def visit(chromium: Browser, shop: Up) -> Iterator[Visit]:
    """`visit(path, **options)`: a page in a browser profile of its own.

    A script that throws fails the test; so does a request to anybody else, and what the page's own policy forbids.
    """
    contexts = []
    faults: list[str] = []

    def foreign(request: Request) -> None:
        if not request.url.startswith((f"{shop.url}/", "data:", "blob:", "about:")):
            faults.append(f"asked {request.url}")

    def said(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            faults.append(message.text)

    def opened(path: str, *, width: int = 1280, height: int = 900, **options: Any) -> Page:
        # Pictures are sharp on today's screens.
        options = {"device_scale_factor": 2, **options} if TAKES else options
        context = chromium.new_context(
            base_url=shop.url, viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        context.on("request", foreign)
        context.on("console", said)
        context.on("weberror", lambda thrown: faults.append(str(thrown.error)))
        page = context.new_page()
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
