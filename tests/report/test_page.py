"""The report in a real browser: in light and dark, printed, told to those who cannot see it, full of hostile names."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from stopgap.comparison.document import Document, KeptTensor, Party
from stopgap.comparison.flips import Flip
from stopgap.report.page import page_of

from tests import browser as browsers
from tests.browser import HOSTILE, PAPER, SCHEMES, visit
from tests.report_at_hand import conversion, retrained


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.browser() as started:
        yield started


@pytest.fixture(scope="module")
def document() -> Document:
    return retrained(250)


@pytest.fixture(scope="module")
def pages(document: Document, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"retrained": document, "conversion": conversion(), "hostile": hostile(document)}
    for name, each in made.items():
        (folder / f"{name}.html").write_text(page_of(each), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


def hostile(document: Document) -> Document:
    """Every text that a model, a caller or a file decides about is one of those."""
    everything = "".join(HOSTILE[:-1])
    result = document.result
    first = result.conditions[0]
    assert first.table is not None
    table = replace(
        first.table,
        classes=HOSTILE[: len(first.table.classes)],
        flips=(*(Flip(one, other, 7, 1, 1e-9) for one, other in zip(HOSTILE, HOSTILE[1:])), *first.table.flips),
    )
    slices = tuple(
        replace(each, slice=HOSTILE[0], value=HOSTILE[place % len(HOSTILE)]) for place, each in enumerate(first.slices)
    )
    odd = replace(
        first,
        name=everything,
        measure=everything,
        reasons=dict.fromkeys(HOSTILE, 3),
        notes=dict.fromkeys(HOSTILE, 3),
        table=table,
        slices=slices,
        worst=tuple(replace(case, reason=everything) for case in first.worst),
    )
    kinds = ("text", "pixels", "image/png", "image/svg+xml", "text/html", HOSTILE[1])
    kept = tuple(
        replace(case, inputs=tuple(KeptTensor(text, text, (1,), kind, text, text, (9, 9, 3)) for text in HOSTILE))
        for case, kind in zip(document.kept, kinds)
    )
    return replace(
        document,
        result=replace(
            result,
            conditions=(odd, result.conditions[1]),
            reason=everything,
            notices=HOSTILE,
            codes=dict.fromkeys(HOSTILE, 2),
            dropped=dict.fromkeys(HOSTILE, 2),
        ),
        legacy=Party(everything, HOSTILE[0]),
        candidate=Party(HOSTILE[1]),
        stated=dict.fromkeys(HOSTILE, HOSTILE),
        kept=kept,
        redacted=HOSTILE,
    )


@pytest.mark.parametrize("name", ["retrained", "conversion", "hostile"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_seen_as_it_is_preferred_says_nothing_and_asks_for_nothing(
    browser: Browser, pages: dict[str, Path], scheme: str, name: str
) -> None:
    with visit(browser, pages[name], scheme=scheme) as opened:
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
        assert opened.page.locator("svg.wide").count() >= 3
        assert opened.page.locator("svg.wide").first.is_visible()
        assert opened.page.evaluate("[...document.images].every(image => image.complete)")
        assert opened.said == []
        assert [each for each in opened.asked if not each.startswith("data:image/")] == []


@pytest.mark.parametrize("name", ["retrained", "conversion", "hostile"])
def test_axe_finds_nothing(browser: Browser, pages: dict[str, Path], name: str) -> None:
    with visit(browser, pages[name]) as opened:
        assert opened.violations() == []
        if name == "retrained":  # which has all that has a colour
            opened.page.emulate_media(color_scheme="dark")
            assert opened.violations("color-contrast") == []


def test_axe_would_find_something(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "poor.html"
    file.write_text("<html><title>x</title><body><img src='data:,'><p style='color:#eee;background:#fff'>pale")
    with visit(browser, file) as opened:
        assert {each.partition(":")[0] for each in opened.violations()} >= {"image-alt", "color-contrast"}


@pytest.mark.parametrize("name", ["retrained", "conversion", "hostile"])
def test_on_a_narrow_screen_nothing_is_wider_than_it(browser: Browser, pages: dict[str, Path], name: str) -> None:
    with visit(browser, pages[name], width=400) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 400
        assert opened.page.locator("svg.narrow").first.is_visible()
        assert not opened.page.locator("svg.wide").first.is_visible()
        sizes = opened.page.evaluate(
            "[...document.querySelectorAll('svg.narrow text')].map(each => each.getBoundingClientRect().height)"
        )
        assert min(sizes) > 10, "pixels: words of a chart stay legible"


def test_it_prints_on_white_with_all_that_is_folded(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["retrained"], scheme="dark", media="print") as opened:
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert opened.page.locator("details tbody th").first.is_visible()
        assert opened.page.locator("svg.narrow").first.is_visible(), "whose words stay legible in half a page"
        printed = opened.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 4


def test_hostile_names_are_text_and_bounded(browser: Browser, pages: dict[str, Path]) -> None:
    with visit(browser, pages["hostile"]) as opened:
        assert opened.page.title().startswith("FAIL: The candidate misses")
        assert opened.page.locator("script, foreignObject, iframe, object, embed, link, base, form").count() == 0
        assert opened.page.locator("style").count() == 1
        handlers = "[...document.querySelectorAll('*')].flatMap(each => [...each.attributes]).map(each => each.name)"
        names = set(opened.page.evaluate(handlers))
        assert [name for name in names if name.startswith("on") or name == "style"] == []
        sources = opened.page.evaluate("[...document.images].map(image => image.src.slice(0, 20))")
        assert all(source.startswith("data:image/png") for source in sources)
        text = opened.page.inner_text("body")
        assert "<script>document.title='owned'</script>" in text
        assert "\\u202egnirts\\u2069\\x1b[31m\\x00\\ud800" in text
        assert "{{ 7 * 7 }}" in text
        assert "n" * 1300 not in text
    assert pages["hostile"].stat().st_size < 3 << 20


def test_nothing_could_run_if_it_were_there(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    """The policy itself, with a script and an image put in behind its back."""
    file = tmp_path / "tampered.html"
    added = "<script>document.title='owned'</script><img src='http://127.0.0.1:9/x'><p style='color:red'>x</p></main>"
    file.write_text(pages["conversion"].read_text(encoding="utf-8").replace("</main>", added), encoding="utf-8")
    with visit(browser, file) as opened:
        assert opened.page.title() != "owned"
        assert len([said for said in opened.said if "Content Security Policy" in said]) >= 3


class Headings(HTMLParser):
    """The texts of headings, and what is in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002 - its signature
        if tag in ("h1", "h2"):
            self._within = tag
            self.found.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within:
            tag, text = self.found[-1]
            self.found[-1] = (tag, text + data)


def test_the_headings_alone_tell_what_was_found(pages: dict[str, Path]) -> None:
    (first, *others) = [text for _, text in Headings(pages["retrained"].read_text(encoding="utf-8")).found]
    assert first == "The candidate misses 1 of 3 margins"
    assert re.fullmatch(r"9[\d.]+ % of answers are equal, below the margin of 97 %", others[1])
    assert any(text.startswith("The candidate is faster: ") for text in others)
    assert "Not pinned: candidate" in others
    assert re.fullmatch(r"Of 4 conditions \d holds?, 1 fails(, 1 is open)?, 1 is only shown", others[0])
    (_, *others) = [text for _, text in Headings(pages["conversion"].read_text(encoding="utf-8")).found]
    assert "The legacy model differs from itself by up to 3·10⁻⁷" in others


def test_inputs_are_in_it_only_where_they_were_kept(pages: dict[str, Path], document: Document) -> None:
    shown = pages["retrained"].read_text(encoding="utf-8")
    assert "of somebody" in shown
    assert "data:image/png;base64," in shown
    first = replace(document.result, conditions=document.result.conditions[:1])
    without = page_of(replace(document, result=first, kept=()))
    assert "of somebody" not in without
    assert "data:image" not in without
    assert "that takes --keep-inputs" in without


def test_pixels_are_what_they_were(pages: dict[str, Path], document: Document) -> None:
    tensor = next(each for case in document.kept for each in case.inputs if each.shown == "pixels")
    (source, *_) = re.findall(r"data:image/png;base64,([^\"]+)", pages["retrained"].read_text(encoding="utf-8"))
    png = base64.b64decode(source)
    assert png[16:24] == (28).to_bytes(4, "big") * 2
    compressed = b"".join(re.findall(rb"IDAT(.*?)....(?:IDAT|IEND)", png, re.DOTALL))
    assert len(zlib.decompressobj().decompress(compressed)) == 28 * 29, "a filter's byte before each row"
    assert len(base64.b64decode(tensor.content)) == 28 * 28


def test_it_is_the_same_for_the_same_document(pages: dict[str, Path]) -> None:
    assert page_of(conversion()) == pages["conversion"].read_text(encoding="utf-8")


def test_no_two_drawings_of_a_page_are_mixed_up() -> None:
    """Two conditions of which everything is alike but the name."""
    for found in (retrained(30, kept=False), conversion(30)):
        alike = found.result.conditions[:2]
        both = tuple(replace(each, name=f"{name} {each.name}") for each in alike for name in ("one", "other"))
        text = page_of(replace(found, result=replace(found.result, conditions=both)))
        identities = re.findall(r' id="([^"]+)"', text)
        assert len(identities) > 20
        assert len(identities) == len(set(identities))
