"""Pictures of shows and logos: made anew whatever was sent, for their own organizer, and nothing but pictures."""

import asyncio
import io
import struct
import zlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import httpx
import pytest
from PIL import Image

from holdfast.engine import Engine
from holdfast.platform import pictures
from holdfast.platform.errors import Busy
from holdfast.platform.pictures import KEPT_BYTES_MAX, NotAPicture, Pictures, PictureTooLarge, renditions
from tests.api.people import another_house, signed_in

pytestmark = pytest.mark.anyio

Show = Callable[..., Awaitable[dict[str, Any]]]
SCRIPT = b"<script>alert(document.domain)</script>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    made = io.BytesIO()
    picture.save(made, kind, **options)
    return made.getvalue()


def plain(width: int = 400, height: int = 200, mode: str = "RGB", colour: Any = "red") -> Image.Image:
    return Image.new("RGB", (width, height), colour).convert(mode)


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), Random(1).randbytes(width * height * 3))


def opened(contents: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(contents))
    picture.load()
    return picture


def png_of(width: int, height: int, data: bytes = b"", *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that says it has this size, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join(chunk(*each) for each in [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


def webp_of(width: int, height: int) -> bytes:
    """The beginning of a WebP that says its canvas has this size."""
    canvas = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


JPEG = encoded(noise(64, 64), "JPEG", quality=80)
PNG = encoded(noise(64, 64))
WEBP = encoded(noise(64, 64), "WEBP")


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_usual_kind_of_picture(kind: str, mode: str) -> None:
    if mode == "I;16":
        picture = Image.new(mode, (400, 200), 0x8000)
    else:
        picture = plain(mode=mode, colour=(200, 100, 50))
    try:
        raw = encoded(picture, kind)
    except OSError:
        pytest.skip(f"{kind} knows no {mode}")
    made = renditions(raw)
    assert [(each.width, each.height) for each in made] == [(320, 160), (400, 200)]
    for each in made:
        shown = opened(each.contents)
        assert (shown.format, shown.size) == ("WEBP", (each.width, each.height))


def test_transparency_and_colours_stay() -> None:
    (made,) = renditions(encoded(Image.new("RGBA", (10, 10), (10, 200, 30, 0))))
    assert opened(made.contents).convert("RGBA").getpixel((5, 5))[3] == 0  # type: ignore[index]
    (made,) = renditions(encoded(plain(10, 10, colour=(10, 200, 30))))
    pixel = opened(made.contents).convert("RGB").getpixel((5, 5))
    assert all(abs(is_ - was) < 8 for is_, was in zip(pixel, (10, 200, 30), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "size, kept",
    [
        ((1, 1), [(1, 1)]),
        ((320, 100), [(320, 100)]),
        ((900, 900), [(320, 320), (800, 800), (900, 900)]),
        ((3000, 1500), [(320, 160), (800, 400), (1600, 800)]),
        ((20_000, 1), [(320, 1), (800, 1), (1600, 1)]),
        ((1, 20_000), [(1, 640), (1, 1600), (1, 3200)]),
    ],
)
def test_three_widths_and_none_wider_than_it_was(size: tuple[int, int], kept: list[tuple[int, int]]) -> None:
    made = renditions(encoded(plain(*size)))
    assert sorted({each.height for each in made}) == sorted({height for _, height in kept})
    assert [(each.width, each.height) for each in made] in (kept, kept[-1:])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_orientation_is_kept_and_every_other_note_is_gone(kind: str, mode: str) -> None:
    notes = Image.Exif()
    notes[0x0112] = 6
    notes[0x010F] = "Camera of Anna"
    notes[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    picture = plain(40, 20, mode)
    extra: dict[str, Any] = {"icc_profile": b"profile of Anna" * 20, "comment": b"by Anna"}
    if kind == "WEBP":
        extra["xmp"] = b"<x:xmpmeta>Anna</x:xmpmeta>"
    raw = encoded(picture, kind, exif=notes, **extra)
    assert b"Anna" in raw
    (made,) = renditions(raw)
    assert (made.width, made.height) == (20, 40)
    shown = opened(made.contents)
    assert not shown.getexif()
    assert not {"icc_profile", "exif", "xmp"} & shown.info.keys()
    for note in (b"Anna", b"EXIF", b"ICCP", b"XMP "):
        assert note not in made.contents


def test_noise_is_made_small_enough() -> None:
    made = renditions(encoded(noise(1600, 1800), "JPEG", quality=60))
    assert [each.width for each in made] == [320, 800, 1600]
    assert max(len(each.contents) for each in made) <= KEPT_BYTES_MAX


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_what_moves_the_first_frame_is_read(kind: str) -> None:
    frames = [plain(8, 8, colour=colour) for colour in ("red", "green", "blue")] * 50
    raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    (made,) = renditions(raw)
    shown = opened(made.contents)
    assert getattr(shown, "n_frames", 1) == 1
    red, green, _ = shown.convert("RGB").getpixel((4, 4))  # type: ignore[misc]
    assert red > 200
    assert green < 50


# --- what is refused, or loses what hides in it ---------------------------------------------------------------------

NO_PICTURES: dict[str, bytes] = {
    "nothing": b"",
    "NUL": b"\0" * 100,
    "text": b"hello",
    "SVG": SVG,
    "SVG behind a mark": b"\xef\xbb\xbf" + SVG,
    "HTML": b"<!doctype html>" + SCRIPT,
    "GIF": encoded(plain(), "GIF"),
    "GIF and JavaScript": b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)//",
    "BMP": encoded(plain(), "BMP"),
    "TIFF": encoded(plain(), "TIFF"),
    "ICO": encoded(plain(64, 64), "ICO"),
    "PDF": encoded(plain(), "PDF"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) run\n",
    "ImageMagick's MVG": b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://example.org/\"|ls \"-la)'\n",
    "ZIP": b"PK\x03\x04" + b"\0" * 100,
    "the head of a PNG": PNG[:8],
    "the head of a JPEG": JPEG[:4],
    "the head of a WebP": WEBP[:16],
    "half a PNG": PNG[: len(PNG) // 2],
    "half a JPEG": JPEG[: len(JPEG) // 2],
    "half a WebP": WEBP[: len(WEBP) // 2],
    "a PNG of no size": png_of(0, 0),
    "a PNG without data": png_of(10, 10),
    "a PNG of other data": png_of(10, 10, zlib.compress(b"x")),
    "a PNG of notes that unpack for ever": png_of(
        10, 10, b"", *[(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 1_000_000, 9))] * 70
    ),
    "a PNG of a profile that unpacks for ever": png_of(
        10, 10, b"", (b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 50_000_000, 9))
    ),
    "a WebP of a canvas alone": webp_of(100, 100),
}
TOO_LARGE: dict[str, bytes] = {
    "a PNG a little too large": encoded(Image.new("1", (8001, 5000))),
    "a head of 100 million": png_of(10_000, 10_000),
    "a head of 10 thousand million": png_of(100_000, 100_000),
    "a head as large as can be": png_of(2**31 - 1, 2**31 - 1),
}


@pytest.mark.parametrize("what", NO_PICTURES)
def test_what_is_no_picture(what: str) -> None:
    with pytest.raises(NotAPicture):
        renditions(NO_PICTURES[what])


@pytest.mark.parametrize("what", TOO_LARGE)
def test_what_is_too_large_is_seen_by_its_head(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is decoded: that would take the memory before it could be refused."""

    def load(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises((PictureTooLarge, NotAPicture)) as refused:
        renditions(TOO_LARGE[what])
    assert refused.type is PictureTooLarge or what == "a head as large as can be"


def test_a_canvas_that_is_too_large() -> None:
    with pytest.raises((PictureTooLarge, NotAPicture)):
        renditions(webp_of(16_000, 16_000))


def test_the_largest_that_is_allowed() -> None:
    made = renditions(encoded(Image.new("1", (8000, 5000))))
    assert (made[-1].width, made[-1].height) == (1600, 1000)


@pytest.mark.parametrize("raw", [PNG, JPEG, WEBP], ids=["PNG", "JPEG", "WebP"])
def test_what_hides_behind_a_picture_is_gone(raw: bytes) -> None:
    for hidden in (SCRIPT, b"PK\x03\x04" + SCRIPT, b"%PDF-1.4" + SCRIPT, b"<?php system($_GET[0]); ?>"):
        (made,) = renditions(raw + hidden)
        assert hidden not in made.contents


@pytest.mark.parametrize("raw", [PNG, JPEG, WEBP], ids=["PNG", "JPEG", "WebP"])
def test_broken_pictures_are_refused_or_made_anew(raw: bytes) -> None:
    random = Random(2)
    for _ in range(150):
        broken = bytearray(raw)
        for _ in range(random.randint(1, 8)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        try:
            made = renditions(bytes(broken))
        except (NotAPicture, PictureTooLarge):
            continue
        assert all(opened(each.contents).format == "WEBP" for each in made)


async def test_only_so_many_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WAITING_MAX", 2)
    made_anew = Pictures()
    try:
        running = [asyncio.ensure_future(made_anew.renditions(PNG)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await made_anew.renditions(PNG)
        assert all(len(each) == 1 for each in await asyncio.gather(*running))
        assert len(await made_anew.renditions(PNG)) == 1
    finally:
        made_anew.close()


# --- over HTTP ------------------------------------------------------------------------------------------------------


async def put(
    caller: httpx.AsyncClient, path: str, raw: bytes = PNG, media: str = "image/png"
) -> httpx.Response:
    return await caller.put(path, content=raw, headers={"content-type": media})


async def test_a_show_gets_a_picture_and_another_one(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show
) -> None:
    show = await a_show()
    path = f"/v1/shows/{show['id']}"
    assert show["picture_id"] is None
    ids = []
    for raw in (encoded(plain(1000, 500)), encoded(plain(2000, 500), "JPEG")):
        answer = await put(owner, f"{path}/picture", raw)
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["id"])
        shown = (await client.get(path)).json()
        assert (shown["picture_id"], shown["version"]) == (ids[-1], show["version"])
    assert answer.json()["sizes"] == [
        {"width": 320, "height": 80}, {"width": 800, "height": 200}, {"width": 1600, "height": 400},
    ]  # fmt: skip
    gone = await client.get(f"/v1/pictures/{ids[0]}")
    assert (gone.status_code, gone.json()["code"]) == (404, "picture_not_found")
    # A claim is priced by the version of the show, which has not changed.
    assert (await client.post(f"{path}/bookings", json={"quantity": 1})).status_code == 201
    assert (await owner.delete(f"{path}/picture")).status_code == 204
    assert (await client.get(path)).json()["picture_id"] is None
    assert (await client.get(f"/v1/pictures/{ids[1]}")).status_code == 404
    assert (await owner.delete(f"{path}/picture")).json()["code"] == "picture_not_found"


async def test_a_picture_is_sent_as_nothing_else(
    owner: httpx.AsyncClient, client: httpx.AsyncClient, a_show: Show
) -> None:
    show = await a_show()
    # What the sender says it is means nothing.
    sent = await put(
        owner, f"/v1/shows/{show['id']}/picture", encoded(plain(2000, 500)) + SCRIPT, "text/html"
    )
    address = f"/v1/pictures/{sent.json()['id']}"
    for asked, given in ((1, 320), (320, 320), (321, 800), (1600, 1600), (9999, 1600), (None, 1600)):
        answer = await client.get(address, params={"width": asked} if asked else {})
        assert opened(answer.content).width == given
        assert answer.headers["etag"] == f'"{given}"'
    headers = answer.headers
    assert headers["content-type"] == "image/webp"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == "inline"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert {"sandbox", "default-src 'none'"} <= set(headers["content-security-policy"].split("; "))
    assert SCRIPT not in answer.content
    again = await client.get(address, headers={"if-none-match": headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for nonsense in ("0", "-1", "x", "10001"):
        assert (await client.get(address, params={"width": nonsense})).status_code == 400


async def test_an_organizer_has_a_logo(owner: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    assert (await owner.get("/v1/organizer/logo")).status_code == 404
    made = (await put(owner, "/v1/organizer/logo")).json()
    assert (await owner.get("/v1/organizer/logo")).json() == made
    assert (await client.get(f"/v1/pictures/{made['id']}")).status_code == 200
    assert (await owner.delete("/v1/organizer/logo")).status_code == 204
    assert (await owner.get("/v1/organizer/logo")).status_code == 404


@pytest.mark.parametrize(
    "raw, status, code",
    [
        (SVG, 400, "not_a_picture"),
        (b"", 400, "not_a_picture"),
        (JPEG[:500], 400, "not_a_picture"),
        (png_of(10_000, 10_000), 413, "picture_too_large"),
        (b"\0" * (5 * 1_048_576 + 1), 413, "body_too_large"),
    ],
    ids=["SVG", "nothing", "truncated", "pixels", "bytes"],
)
async def test_what_is_refused_says_why(
    owner: httpx.AsyncClient, a_show: Show, raw: bytes, status: int, code: str
) -> None:
    show = await a_show()
    for path in (f"/v1/shows/{show['id']}/picture", "/v1/organizer/logo"):
        answer = await put(owner, path, raw)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await owner.get(f"/v1/shows/{show['id']}")).json()["picture_id"] is None


async def test_only_who_runs_the_show_changes_its_picture(
    engine: Engine, client: httpx.AsyncClient, owner: httpx.AsyncClient, a_show: Show
) -> None:
    path = f"/v1/shows/{(await a_show())['id']}/picture"
    sent = (await put(owner, path)).json()
    for address in (path, "/v1/organizer/logo"):
        assert (await put(client, address)).status_code == 401
        async with signed_in(engine, "box_office") as clerk:
            assert (await put(clerk, address)).status_code == 403
            assert (await clerk.delete(address)).status_code == 403
    async with signed_in(engine, "owner", await another_house(engine)) as stranger:
        for answer in (await put(stranger, path), await stranger.delete(path)):
            assert (answer.status_code, answer.json()["code"]) == (404, "show_not_found")
        assert (await stranger.get("/v1/organizer/logo")).status_code == 404
    assert (await client.get(f"/v1/pictures/{sent['id']}")).status_code == 200


async def test_of_two_who_set_it_at_once_one_is_last(
    engine: Engine, owner: httpx.AsyncClient, a_show: Show
) -> None:
    show = await a_show()
    path = f"/v1/shows/{show['id']}/picture"
    answers = await asyncio.gather(*(put(owner, path, encoded(plain(8, n))) for n in range(1, 7)))
    made = {answer.json()["id"] for answer in answers}
    assert [answer.status_code for answer in answers] == [200] * 6
    assert (await owner.get(f"/v1/shows/{show['id']}")).json()["picture_id"] in made
    assert await engine.db.value("select count(distinct picture_id) from picture_sizes") == 1
