"""Images on the real engine: what an older version has built does not stay for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.errors import ImageNotFound
from stopgap.engines.docker import DockerEngine, connect

from tests.backstage import api

pytestmark = pytest.mark.docker

LABELS = {"stopgap.image": "test-drop"}
TAGS = ("stopgap/test-drop:old", "stopgap/test-drop:used", "stopgap/test-drop:new")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DockerEngine]:
    engine = connect()
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
    for tag in TAGS:
        (tmp_path / "content").write_text(tag)
        engine.build_image(tmp_path, tag, LABELS)
    yield engine
    for tag in TAGS:
        with suppress(ImageNotFound):
            api().remove_image(tag, force=True)


def test_superseded_images_go_but_not_the_wanted_one_nor_one_in_use(engine: DockerEngine) -> None:
    container = api().create_container("stopgap/test-drop:used", command="never")
    try:
        engine.drop_images(LABELS, keep="stopgap/test-drop:new", older_than_s=0)
        assert [engine.has_image(tag) for tag in TAGS] == [False, True, True]
    finally:
        api().remove_container(container)


def test_a_young_image_stays_for_the_other_version_that_has_built_it(engine: DockerEngine) -> None:
    engine.drop_images(LABELS, keep="stopgap/test-drop:new", older_than_s=3600)
    assert [engine.has_image(tag) for tag in TAGS] == [True, True, True]
