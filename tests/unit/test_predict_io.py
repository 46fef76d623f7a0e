"""`stopgap predict`: every way in and out, against a real gRPC server."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from stopgap.client.npz import read_npz, write_npz

from tests.serving_server import MODEL, serving


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as where:
        yield where


def run(*arguments: str, stdin: bytes = b"", stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
    """The command as a person runs it, in a process of its own."""
    command = [sys.executable, "-c", "from stopgap.cli.main import main; main()", "predict", *arguments]
    environment = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run(
        command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False, env=environment
    )
    assert b"Traceback" not in done.stderr
    return done


def ask(address: str, content: bytes, *arguments: str) -> dict[str, object]:
    done = run(MODEL, "--address", address, "--inputs", "-", *arguments, stdin=content)
    assert done.returncode == 0, done.stderr.decode()
    outputs = json.loads(done.stdout)["outputs"]
    assert isinstance(outputs, dict)
    return outputs


def refusal(address: str, content: bytes, *arguments: str) -> str:
    done = run(MODEL, "--address", address, "--inputs", "-", *arguments, stdin=content)
    assert done.returncode == 1
    assert done.stdout == b""
    return done.stderr.decode()


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its next parameter is not one of the arrays
    return buffer.getvalue()


IMAGE = [[0.5, 2.0]]
OUTPUTS = {"image": IMAGE, "label": ["a"]}


def test_json_may_be_columnar_plain_or_one_bare_value(address: str) -> None:
    inputs = {"image": IMAGE, "label": ["a"]}
    assert ask(address, json.dumps({"inputs": inputs}).encode()) == OUTPUTS
    assert ask(address, json.dumps(inputs).encode()) == OUTPUTS
    assert ask(address, b'{"inputs": [1, 2]}', "--signature", "one") == {"x": [1, 2]}
    assert ask(address, b'{"inputs": [3], "signature_name": "one"}') == {"x": [3]}


def test_bytes_go_in_and_come_out_as_b64(address: str) -> None:
    raw = {"b64": base64.b64encode(b"\xff\0").decode()}
    assert ask(address, json.dumps({"image": IMAGE, "label": [raw]}).encode())["label"] == [raw]


def test_an_npz_may_hold_other_precisions_and_any_strings(address: str) -> None:
    for label in (np.array([b"a"]), np.array(["a"])):
        assert ask(address, npz({"image": np.array(IMAGE, np.float64), "label": label})) == OUTPUTS


def test_an_npz_keeps_nul_bytes_by_the_strings_lengths(address: str, tmp_path: Path) -> None:
    labels = {"label": np.array([b"a\0\0", b"\0"]), "label@len": np.array([3, 1])}
    content = npz({"image": np.zeros((2, 2), np.float32), **labels})
    output = tmp_path / "out.npz"
    done = run(MODEL, "--address", address, "--inputs", "-", "--output", str(output), stdin=content)
    assert (done.returncode, done.stdout) == (0, b"")
    with np.load(output, allow_pickle=False) as written:
        assert written["label@len"].tolist() == [3, 1]
        assert written["image"].dtype == np.float32
    assert read_npz(output.read_bytes(), "out")["label"].tolist() == [b"a\0\0", b"\0"]


def test_bfloat16_is_bits_in_an_npz_and_a_number_in_json(address: str) -> None:
    content = npz({"b": np.array([0x3FC0], np.uint16), "q": np.array([7], np.uint8)})
    assert ask(address, content, "--signature", "narrow") == {"b": [1.5], "q": [7]}
    assert ask(address, b'{"b": [1.5], "q": [7]}', "--signature", "narrow") == {"b": [1.5], "q": [7]}


def test_inputs_come_from_a_file_and_outputs_go_to_one(address: str, tmp_path: Path) -> None:
    request, answer = tmp_path / "request.json", tmp_path / "answer.JSON"
    request.write_text(json.dumps(OUTPUTS))
    done = run(MODEL, "--address", address, "--inputs", str(request), "--output", str(answer))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert json.loads(answer.read_text()) == {"outputs": OUTPUTS}


def test_an_npz_goes_down_a_pipe(address: str) -> None:
    content = write_npz({"file": np.array([True, False])})
    arguments = ("--signature", "file", "--format", "npz")
    done = run(MODEL, "--address", address, "--inputs", "-", *arguments, stdin=content)
    assert read_npz(done.stdout, "stdout")["file"].tolist() == [True, False]


def test_a_table_shows_name_dtype_shape_and_first_values(address: str) -> None:
    content = json.dumps({"image": [[1, 2]] * 9, "label": ["\x1b[31mred"]}).encode()
    done = run(MODEL, "--address", address, "--inputs", "-", "--format", "table", stdin=content)
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["output", "dtype", "shape", "first", "values"]
    assert lines[1].split() == ["image", "float32", "[9,", "2]", "1", "2", "1", "2", "1", "2", "…"]
    assert lines[2].split()[:3] == ["label", "string", "[1]"]
    assert "\x1b" not in lines[2]


def test_a_terminal_gets_a_table_and_never_an_npz(address: str) -> None:
    terminal, side = pty.openpty()
    try:
        done = run(MODEL, "--address", address, "--inputs", "-", stdin=json.dumps(OUTPUTS).encode(), stdout=side)
        assert done.returncode == 0, done.stderr.decode()
        assert b"first values" in os.read(terminal, 10_000)
        done = run(MODEL, "--address", address, "--inputs", "-", "--format", "npz", stdout=side)
    finally:
        os.close(terminal)
        os.close(side)
    assert done.returncode == 2
    assert b"not for a terminal" in done.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "neither an .npz nor JSON"),
        (b"{", "neither an .npz nor JSON"),
        (b"\xff\xfe\x00", "neither an .npz nor JSON"),
        (b"[" * 100_000, "neither an .npz nor JSON"),
        (b"[1]", "not an object of inputs"),
        (b'{"inputs": {"label": [{"b64": "*"}]}}', "is not base64"),
        (b'{"inputs": 1, "signature_name": 2}', "signature_name in standard input is not a text"),
        (b"PK\x03\x04 and no more", "cannot be read"),
        (npz({"image": np.zeros((1, 2)), "label": np.array([b"a"])})[:-30], "cannot be read"),
        (b'{"image": [[1, 2]]}', "missing: 'label'"),
        (b'{"image": [[1, 2]], "label": ["a"], "more": 1}', "unknown: 'more'"),
        (b'{"image": [["a", "b"]], "label": ["a"]}', "The input 'image' cannot be sent"),
        (b'{"image": [[1, 2], [3]], "label": ["a"]}', "different lengths"),
        (b'{"instances": [[1, 2]]}', "unknown: 'instances', missing: 'image', 'label'"),
    ],
    ids=[
        "nothing",
        "half an object",
        "not text",
        "too deep",
        "a list",
        "bad base64",
        "bad signature_name",
        "no zip",
        "half an npz",
        "missing",
        "unknown",
        "wrong kind",
        "ragged",
        "row format",
    ],
)
def test_a_bad_request_is_one_clear_error(address: str, content: bytes, told: str) -> None:
    assert told in refusal(address, content)


def test_the_signatures_inputs_are_listed_for_who_missed_them(address: str) -> None:
    told = refusal(address, b"{}")
    assert "image: float32 [?, 2]" in told
    assert "label: string [?]" in told


def test_an_unknown_signature_lists_those_there_are(address: str) -> None:
    assert "There are: 'file', 'narrow', 'one', 'serving_default'." in refusal(address, b"{}", "--signature", "two")


def test_pickled_objects_are_not_loaded(address: str) -> None:
    content = npz({"label": np.array([b"a", None], dtype=object)})
    assert "Save strings as S or U arrays" in refusal(address, content)


@pytest.mark.parametrize("lengths", [np.array([1]), np.array([0, 1]), np.array([1, 9]), np.array([1.0, 1.0])])
def test_lengths_that_do_not_fit_their_strings_are_refused(address: str, lengths: np.ndarray) -> None:
    assert "'label@len'" in refusal(address, npz({"label": np.array([b"a", b"b"]), "label@len": lengths}))


def test_files_that_cannot_be_read_or_written_are_named(address: str, tmp_path: Path) -> None:
    absent = tmp_path / "absent.npz"
    done = run(MODEL, "--address", address, "--inputs", str(absent))
    assert done.returncode == 1
    assert f"{absent} cannot be read: No such file" in done.stderr.decode()
    output = tmp_path / "no" / "such.npz"
    done = run(
        MODEL, "--address", address, "--inputs", "-", "--output", str(output), stdin=json.dumps(OUTPUTS).encode()
    )
    assert done.returncode == 1
    assert f"cannot be written to {output}" in done.stderr.decode()


def test_formats_that_do_not_go_together_are_wrong_usage(address: str, tmp_path: Path) -> None:
    for arguments in (["--output", "x.csv"], ["--output", "x.npz", "--format", "table"], ["--timeout", "0"]):
        assert run(MODEL, "--address", address, "--inputs", "-", *arguments).returncode == 2
    output = tmp_path / "answer"
    arguments = ["--output", str(output), "--format", "json"]
    done = run(MODEL, "--address", address, "--inputs", "-", *arguments, stdin=json.dumps(OUTPUTS).encode())
    assert done.returncode == 0
    assert json.loads(output.read_text()) == {"outputs": OUTPUTS}


def test_an_npz_can_hold_an_output_of_any_name() -> None:
    arrays = {"file": np.array([1]), "s/indices": np.array([[0, 1]]), "allow_pickle": np.array([2.0])}
    back = read_npz(write_npz(arrays), "x")
    assert {name: array.tolist() for name, array in back.items()} == {k: v.tolist() for k, v in arrays.items()}


def test_without_an_address_the_deployment_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOPGAP_STATE", str(tmp_path))
    done = run("nobody", "--inputs", "-", stdin=b"{}")
    assert done.returncode == 1
    assert b"nobody" in done.stderr
