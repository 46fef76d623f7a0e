"""What a model's folder may look like, and what is said of one that cannot be served."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stopgap.errors import ModelError
from stopgap.models import Model, Reader, check_op_library, find_model


def make_model(folder: Path, graph: str = "saved_model.pb") -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / graph).write_bytes(b"x")
    (folder / "variables" / "variables.index").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("graph", ["saved_model.pb", "saved_model.pbtxt"])
def test_a_saved_model_is_version_one_unless_its_folder_says_otherwise(tmp_path: Path, graph: str) -> None:
    assert find_model(make_model(tmp_path / "export", graph)) == Model(tmp_path / "export", 1)
    assert find_model(make_model(tmp_path / "12", graph)) == Model(tmp_path / "12", 12)
    assert find_model(make_model(tmp_path / "0", graph)) == Model(tmp_path / "0", 0)


def test_the_newest_version_is_taken_by_number_not_by_name(tmp_path: Path) -> None:
    for version in ("2", "010", "9"):
        make_model(tmp_path / version)
    (tmp_path / "99").write_text("a file", encoding="utf-8")
    (tmp_path / "notes").mkdir()
    assert find_model(tmp_path) == Model(tmp_path / "010", 10)


def test_version_zero_is_a_version(tmp_path: Path) -> None:
    make_model(tmp_path / "0")
    assert find_model(tmp_path).version == 0


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    make_model(tmp_path / "real" / "3")
    (tmp_path / "current").symlink_to(tmp_path / "real")
    assert find_model(tmp_path / "current") == Model(tmp_path / "real" / "3", 3)


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere does not exist"):
        find_model(tmp_path / "nowhere")


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    file = make_model(tmp_path) / "saved_model.pb"
    with pytest.raises(ModelError, match="is a file, not a model's folder"):
        find_model(file)


def test_what_is_no_saved_model_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither saved_model\.pb nor saved_model\.pbtxt, nor folders named by"):
        find_model(tmp_path)


def test_a_newest_version_without_a_model_is_named(tmp_path: Path) -> None:
    make_model(tmp_path / "1")
    (tmp_path / "2").mkdir()
    with pytest.raises(ModelError, match=r"version 2 of .* is not a SavedModel"):
        find_model(tmp_path)


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ModelError):
        find_model(tmp_path / "a")


@pytest.mark.parametrize(
    ("unreadable", "mode"),
    [
        ("saved_model.pb", 0o640),
        ("variables", 0o750),
        ("variables", 0o744),
        ("variables/variables.index", 0o600),
        (".", 0o700),
    ],
)
def test_what_the_sandbox_cannot_read_is_named_with_the_chmod_that_helps(
    tmp_path: Path, unreadable: str, mode: int
) -> None:
    folder = make_model(tmp_path / "my model")
    (folder / unreadable).chmod(mode)
    with pytest.raises(ModelError) as caught:
        find_model(folder)
    assert f" {folder / unreadable}." in caught.value.problem
    assert f"chmod -R o+rX '{folder}'" in caught.value.remedy
    os.system(f"chmod -R o+rX '{folder}'")  # noqa: S605 - the remedy is what is tested
    find_model(folder)


def test_folders_above_the_model_may_be_private(tmp_path: Path) -> None:
    model = make_model(tmp_path / "private" / "1")
    (tmp_path / "private").chmod(0o700)
    assert find_model(model).folder == model


def test_files_beside_the_model_do_not_matter(tmp_path: Path) -> None:
    model = make_model(tmp_path / "1")
    (model / "notes.txt").write_text("private", encoding="utf-8")
    (model / "notes.txt").chmod(0o600)
    find_model(model)


@pytest.mark.parametrize("target", ["/etc/hostname", "../../outside", "../variables/../../outside"])
def test_a_link_that_leads_out_of_the_model_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_text("secret", encoding="utf-8")
    model = make_model(tmp_path / "1")
    (model / "assets").mkdir()
    (model / "assets" / "vocabulary.txt").symlink_to(target)
    with pytest.raises(ModelError, match="leads out of the model's folder"):
        find_model(model)


def test_a_link_within_the_model_holds(tmp_path: Path) -> None:
    model = make_model(tmp_path / "1")
    (model / "assets").mkdir()
    (model / "assets" / "vocabulary.txt").symlink_to("../variables/variables.index")
    find_model(model)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    model = make_model(tmp_path / "1")
    (model / "assets").mkdir()
    (model / "assets" / "vocabulary.txt").symlink_to("missing.txt")
    with pytest.raises(ModelError, match=r"vocabulary\.txt is a link to missing\.txt, which does not exist"):
        find_model(model)


def test_a_pipe_in_a_model_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    model = make_model(tmp_path / "1")
    os.mkfifo(model / "variables" / "variables.data-00000-of-00001")
    with pytest.raises(ModelError, match="neither a file nor a folder"):
        find_model(model)


def test_an_op_library_is_a_readable_shared_library(tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    with pytest.raises(ModelError, match="is not a file"):
        check_op_library(library)
    library.write_bytes(b"x")
    library.chmod(0o600)
    with pytest.raises(ModelError, match="cannot read the op library"):
        check_op_library(library)
    library.chmod(0o644)
    with pytest.raises(ModelError, match=r"ops\.so is not a shared library"):
        check_op_library(library)
    library.write_bytes(b"\x7fELF")
    assert check_op_library(library) == library


def test_who_reads_a_model_as_its_owner_may_keep_it_private(tmp_path: Path) -> None:
    """To the kernel, the sandbox of somebody without rights is that somebody."""
    folder = make_model(tmp_path / "export")
    (folder / "saved_model.pb").chmod(0o600)
    folder.chmod(0o700)
    with pytest.raises(ModelError, match=r"user \(65534\) cannot read"):
        find_model(folder)
    assert find_model(folder, Reader(os.getuid(), frozenset())).folder == folder.resolve()
    with pytest.raises(ModelError, match=r"user \(12345\) cannot read"):
        find_model(folder, Reader(12345, frozenset()))
