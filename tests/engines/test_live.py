"""The live page of a real state folder: a model in a sandbox, users who ask it, a shadow, a death, and its end."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect
from stopgap.client.channel import ServingChannel
from stopgap.client.model import RemoteModel
from stopgap.containment.specs import sandbox_container

from tests import browser as browsers
from tests import zoo
from tests.backstage import on_bubblewrap, workers_of
from tests.browser import visit
from tests.stopgap_program import Program

pytestmark = [pytest.mark.alone, pytest.mark.slow]

MODEL = zoo.load("layers_mlp_norms_control")
CANDIDATE = ("--candidate", "twin", "--sample", "100%", "--mode", "retrained", "--output", "logits", "--margin", "0.9")
ASKED = re.compile(r"([1-9]|0\.[0-9]*[1-9])[0-9.]* /s")
PATIENCE_MS = 60_000


@contextmanager
def users(port: int) -> Iterator[None]:
    """Who asks `mlp` something else each time, some twenty times a second."""
    over = threading.Event()

    def ask() -> None:
        drawn = np.random.default_rng(0)
        with ServingChannel(f"127.0.0.1:{port}") as channel:
            model = RemoteModel(channel, "mlp")
            while not over.wait(0.05):
                model.predict({"image": drawn.integers(0, 256, (1, 10, 10, 3), dtype=np.uint8)}, timeout_s=60)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join(timeout=60)


def card(page: Page, name: str) -> Locator:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def says(place: Locator, text: str | re.Pattern[str]) -> None:
    """Sooner or later."""
    expect(place).to_contain_text(text, timeout=PATIENCE_MS)


@on_bubblewrap
def test_the_page_shows_what_becomes_of_a_real_model(stopgap: Program) -> None:
    process = stopgap.start("live", "--port", "0", "--interval", "0.5")
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    try:
        with browsers.browser() as browser, visit(browser, address) as opened:
            page = opened.page
            says(page.locator("h1"), "Nothing is being served")
            stopgap.serve(MODEL.folder.parent, "mlp")
            stopgap.serve(MODEL.folder.parent, "twin")
            says(page.locator("h1"), "All 2 models are served")
            says(card(page, "mlp"), "bubblewrap")
            says(card(page, "mlp"), "TensorFlow 1.15.5")
            assert stopgap.run("shadow", "mlp", *CANDIDATE).returncode == 0
            with users(stopgap.port):
                rate = card(page, "mlp").locator(".tile .value").first
                says(rate, ASKED)
                says(card(page, "mlp").locator("[aria-current=step]"), "shadow")
                says(card(page, "mlp").locator(".shadow .verdict"), "PASS")
                expect(card(page, "mlp").locator(".condition figure svg.wide")).to_be_visible(timeout=PATIENCE_MS)
                seen = card(page, "mlp").locator(".condition .counts")
                expect(seen).not_to_have_text(seen.text_content() or "", timeout=PATIENCE_MS)
                (worker,) = workers_of(stopgap.backstage.first_process(sandbox_container("mlp")))
                os.kill(worker, signal.SIGKILL)
                says(card(page, "mlp").locator(".incidents"), "1 death of a worker")
            assert opened.violations() == []
            assert stopgap.run("stop", "mlp", "twin").returncode == 0
            expect(page.locator("article")).to_have_count(0, timeout=PATIENCE_MS)
            says(page.locator("h1"), "Nothing is being served")
            assert opened.said == []
            assert [url for url in opened.asked if not url.startswith(address)] == []
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
            says(page.get_by_role("status"), "Contact lost")
    finally:
        process.kill()
        _, said = process.communicate(timeout=20)
    assert "Traceback" not in said
