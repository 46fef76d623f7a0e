"""The live page in a real browser: it changes as what is seen does, and keeps what a person has done to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from stopgap.conditions import Condition
from stopgap.front.routes import Kind
from stopgap.live.gathering import Remains, Snapshot
from stopgap.live.lookout import live
from stopgap.live.server import Server
from stopgap.stages import Stage

from tests import browser as browsers
from tests.browser import HOSTILE, PAPER, SCHEMES, Visit, visit
from tests.live_at_hand import QUIET, arm, hostile, incident, model, shadow, snapshot, split

INTERVAL_S = 0.5
PATIENCE_MS = 30_000


@contextmanager
def shown(first: Snapshot) -> Iterator[tuple[Server, str, Any]]:
    """A page, and what changes what it is shown."""
    seen = [first]
    number = iter(range(10**9))

    def look() -> Snapshot:
        return replace(seen[0], number=next(number))

    server, address = live(look, 0, INTERVAL_S)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server, address, lambda found: seen.__setitem__(0, found)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=20)


def everything() -> Snapshot:
    """A model in each stage and condition, with all that a card can have."""
    arms = (arm("candidate’s callers", "ranker2", Kind.KEYED, 120, 3), arm("told no key", "ranker", Kind.KEYLESS, 9, 0))
    broken = replace(QUIET, counts={"died": 3}, quarantined=2, incidents=(incident(), incident("run limit")))
    dropping = shadow(400)
    totals = replace(dropping.totals, dropped={"the queue was full": 7})
    return snapshot(
        model(
            "ranker",
            shadow=replace(dropping, totals=totals, warnings=("7 of 400 were DROPPED.",)),
            record=split(),
            arms=arms,
        ),
        model("ranker2", candidate_in=split()),
        model("passes", shadow=shadow(200, outcome="PASS")),
        model("fails", shadow=shadow(200, outcome="FAIL")),
        model("promoted", record=split("promoted", stage=Stage.PROMOTED)),
        model("broken", Condition.DOWN, detail="exited with 137", incidents=broken, traffic=None),
        model("hanging", late={"sandbox": 9.0}, incidents=None, problems=("What was found cannot be read.",)),
        remains=(
            Remains("damaged", Condition.DAMAGED, "The state file is damaged.", "rm it"),
            Remains("old", Condition.RETIRED, "", "stopgap stop old", split("old", stage=Stage.RETIRED)),
        ),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.browser() as started:
        yield started


@pytest.fixture(scope="module")
def full() -> Iterator[str]:
    with shown(everything()) as (_, address, _):
        yield address


def card(page: Page, name: str) -> Any:
    return page.locator("article", has=page.locator("h3", has_text=name).and_(page.get_by_text(name, exact=True)))


def in_contact(page: Page) -> None:
    expect(page.locator("#contact")).to_have_text("In contact", timeout=PATIENCE_MS)


def is_drawn(page: Page) -> None:
    """All of `everything`, which takes a while where it was never drawn before: two sizes of each course."""
    expect(page.locator("svg.spark")).to_have_count(21, timeout=4 * PATIENCE_MS)
    expect(page.locator("svg.wide, svg.narrow")).to_have_count(12, timeout=4 * PATIENCE_MS)


def is_silent(opened: Visit, address: str) -> None:
    """Nothing was said, and nothing asked of anybody but the page's own server."""
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith(address)] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_seen_as_it_is_preferred_says_nothing_and_asks_nobody_else(
    browser: Browser, full: str, scheme: str
) -> None:
    with visit(browser, full, scheme=scheme) as opened:
        in_contact(opened.page)
        assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
        is_drawn(opened.page)
        assert opened.page.locator("article").count() == 7
        assert opened.page.locator("svg.wide").first.is_visible()
        assert opened.page.locator("[aria-current=step]").count() == 6
        assert opened.page.title() == "2 things need you · stopgap live"
        is_silent(opened, full)


def test_axe_finds_nothing(browser: Browser, full: str) -> None:
    with visit(browser, full) as opened:
        in_contact(opened.page)
        is_drawn(opened.page)
        for each in opened.page.locator("summary").all():
            each.click()
        assert opened.violations() == []
        opened.page.emulate_media(color_scheme="dark")
        assert opened.violations("color-contrast") == []


def test_axe_finds_nothing_on_an_empty_page_which_says_what_to_type(browser: Browser) -> None:
    with shown(snapshot()) as (_, address, _), visit(browser, address) as opened:
        in_contact(opened.page)
        assert "stopgap serve ./model --name ranker" in opened.page.inner_text("main")
        assert opened.page.inner_text("h1") == "Nothing is being served"
        assert opened.violations() == []
        is_silent(opened, address)


@pytest.mark.parametrize("width", [320, 400, 700])
def test_on_a_narrow_screen_nothing_is_wider_than_it(browser: Browser, full: str, width: int) -> None:
    with visit(browser, full, width=width) as opened:
        in_contact(opened.page)
        is_drawn(opened.page)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width


def test_it_changes_as_what_is_seen_does(browser: Browser) -> None:
    with shown(snapshot(model("ranker"))) as (_, address, show), visit(browser, address) as opened:
        page = opened.page
        in_contact(page)
        expect(page.locator("h1")).to_have_text("ranker is served")
        show(snapshot(model("ranker", shadow=shadow(100), late={}), model("other", Condition.DOWN)))
        expect(page.locator("h1")).to_have_text("other needs you", timeout=PATIENCE_MS)
        expect(page.locator("article")).to_have_count(2)
        expect(card(page, "ranker").locator("[aria-current=step]")).to_contain_text("shadow")
        expect(card(page, "ranker").locator(".conditions")).to_contain_text("of 100 units")
        show(snapshot(model("ranker", shadow=shadow(200)), model("other")))
        expect(card(page, "ranker").locator(".conditions")).to_contain_text("of 200 units", timeout=PATIENCE_MS)
        expect(card(page, "other").locator(".state")).to_have_text("serving")
        show(snapshot())
        expect(page.locator("h1")).to_have_text("Nothing is being served", timeout=PATIENCE_MS)
        is_silent(opened, address)


def test_what_a_person_has_unfolded_focused_or_scrolled_stays(browser: Browser) -> None:
    broken = replace(QUIET, counts={"died": 1}, incidents=(incident(),))
    seen = model("b", incidents=broken, record=split("b"), arms=(arm("told no key", "b", Kind.KEYED, 9, 0),))
    with shown(snapshot(seen)) as (_, address, show), visit(browser, address, width=400) as opened:
        page = opened.page
        in_contact(page)
        page.locator("summary").click()
        page.locator("summary").focus()
        page.evaluate("document.querySelector('.arms .scroll').scrollLeft = 40; window.scrollTo(0, 200)")
        more = replace(broken, counts={"died": 2}, incidents=(*broken.incidents, incident("later")))
        other = replace(seen, deployment=replace(seen.deployment, name="c"))
        arms = (*seen.arms, arm("all", "b", Kind.KEYED, 99, 0))
        show(snapshot(model("a"), replace(seen, incidents=more, arms=arms), other))
        expect(card(page, "b")).to_contain_text("2 deaths", timeout=PATIENCE_MS)
        expect(page.locator("article")).to_have_count(3)
        kept = card(page, "b")
        assert kept.locator("details").evaluate("each => each.open")
        assert kept.locator("summary").evaluate("each => each === document.activeElement")
        assert kept.locator(".arms .scroll").evaluate("each => each.scrollLeft") == 40
        assert page.evaluate("window.scrollY") == 200
        assert card(page, "c").locator("details").evaluate("each => each.open") is False


def test_lost_contact_is_told_loudly_and_what_was_seen_stays(browser: Browser) -> None:
    with shown(snapshot(model("ranker"))) as (server, address, _), visit(browser, address) as opened:
        page = opened.page
        in_contact(page)
        server.shutdown()
        server.server_close()
        contact = page.get_by_role("status")
        expect(contact).to_contain_text("Contact lost at", timeout=PATIENCE_MS)
        expect(contact).to_be_in_viewport()
        expect(card(page, "ranker")).to_be_visible()
        assert page.title().startswith("Contact lost")
        assert opened.violations("color-contrast") == []
        told = contact.inner_text()
        page.wait_for_timeout(3 * INTERVAL_S * 1000)
        assert contact.inner_text() == told, "it says since when, and does not say it again and again"


def test_contact_that_is_there_again_is_told(browser: Browser) -> None:
    with shown(snapshot(model("ranker"))) as (_, address, _), visit(browser, address) as opened:
        page = opened.page
        in_contact(page)
        page.route("**/now", lambda route: route.abort())
        expect(page.locator("#contact")).to_contain_text("Contact lost", timeout=PATIENCE_MS)
        page.unroute("**/now")
        in_contact(page)


def test_without_its_script_it_can_be_read(browser: Browser, full: str) -> None:
    with visit(browser, full, scripts=False) as opened:
        assert opened.page.locator("article").count() == 7
        assert opened.page.get_by_role("link", name="Look again").is_visible()
        assert "how all was when the page was loaded" in opened.page.inner_text("#contact")


def test_who_prefers_less_motion_sees_none(browser: Browser, full: str) -> None:
    with visit(browser, full) as opened:
        in_contact(opened.page)
        moving = "getComputedStyle(document.querySelector('#contact'), '::before').animationName"
        assert opened.page.evaluate(moving) == "breathe"
        opened.page.emulate_media(reduced_motion="reduce")
        assert opened.page.evaluate(moving) == "none"


def test_hostile_names_are_text_also_when_they_come_later(browser: Browser) -> None:
    with shown(snapshot()) as (_, address, show), visit(browser, address) as opened:
        page = opened.page
        in_contact(page)
        show(hostile(HOSTILE))
        expect(page.locator("article")).to_have_count(len(HOSTILE), timeout=PATIENCE_MS)
        assert page.title() != "owned"
        assert (
            page.locator("#now script, #now style, foreignObject, iframe, object, embed, base, form, img").count() == 0
        )
        assert page.locator("script").count() == 1
        found = "[...document.querySelectorAll('*')].flatMap(each => [...each.attributes]).map(each => each.name)"
        assert [name for name in set(page.evaluate(found)) if name.startswith("on") or name == "style"] == []
        text = page.inner_text("body")
        assert "<script>document.title='owned'</script>" in text
        assert "\\u202egnirts\\u2069\\x1b[31m\\x00\\ud800" in text
        assert "{{ 7 * 7 }}" in text
        assert "n" * 700 not in text
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        assert opened.violations() == []
        is_silent(opened, address)


def test_nothing_could_run_if_it_were_there(browser: Browser, full: str) -> None:
    """The policy itself, with a script, a style and a picture put in behind its back."""
    with visit(browser, full) as opened:
        in_contact(opened.page)
        opened.page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "document.title = 'owned'";
                const image = new Image();
                image.src = "http://127.0.0.1:9/x";
                document.body.append(script, image);
                document.body.insertAdjacentHTML("beforeend", "<p style='color: red' onclick='1'>x</p>");
                return fetch("http://127.0.0.1:9/y").catch(() => 0);
            }"""
        )
        assert opened.page.title() != "owned"
        assert len([said for said in opened.said if "Content Security Policy" in said]) >= 4
