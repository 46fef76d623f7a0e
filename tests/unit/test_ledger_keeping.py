"""One front's ledger at work: an unreadable book is alone with that, and a port is open while its split lasts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from stopgap.errors import LedgerError
from stopgap.ledger.book import Book, Feedback
from stopgap.ledger.entries import unit_of
from stopgap.ledger.keeping import Keeper, keep
from stopgap.ledger.listener import HOST
from stopgap.ledgers import book_file
from stopgap.stages import HandOver, Key, Model, Stage
from stopgap.store import Store
from stopgap_protos.access_log_pb2 import StreamAccessLogsMessage

from tests.front_scene import eventually
from tests.stopgap_program import free_port

PORT, SALT = 8500, "0123456789abcdef"
IDENTITIES = ("0b866e72-4c26-4914-ae3d-eb6e68b0fbfa", "4d2c04be-3879-4ff2-9a4f-f86f918a87ee")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    book_file("clicks", store).parent.mkdir(parents=True)
    return store


def split(name: str, feedback_port: int = 0) -> HandOver:
    legacy, candidate = Model(name, "a" * 64, 1), Model(f"{name}2", "b" * 64, 2)
    key = Key("header", "x-user-id")
    return HandOver(name, Stage.SPLIT, legacy, PORT, candidate, 1000, key, SALT, feedback_port)


def ended(record: HandOver) -> HandOver:
    return replace(record, stage=Stage.LEGACY, candidate=None, share=0, feedback_port=0)


def told(*names: str) -> bytes:
    """As Envoy tells of one answer of each."""
    message = StreamAccessLogsMessage()
    for name, identity in zip(names, IDENTITIES):
        entry = message.http_logs.log_entry.add()
        entry.common_properties.route_name = f"takeover/keyed/{name}/{SALT}"
        entry.common_properties.upstream_cluster = name
        entry.common_properties.custom_tags.update({"share": b"1000", "caller": b"user-7"})
        entry.response.response_code.value = 200
        entry.response.response_headers["stopgap-request-id"] = identity.encode()
    return message.SerializeToString()


def test_one_unreadable_book_keeps_nobody_from_the_others(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("clicks", "ranker"):
        store.put_hand_over(split(name))
    book_file("clicks", store).write_bytes(b"no book of ours" * 100)
    keeper = Keeper(PORT, store)
    keeper.begin()
    keeper.take(told("clicks", "ranker"))
    keeper.go_on()
    keeper.go_on()
    keeper.close()
    with Book(book_file("ranker", store)) as book:
        assert book.known().legacy.units == 1
    assert len([record for record in caplog.records if "cannot be opened" in record.message]) == 1
    with pytest.raises(LedgerError, match="cannot be opened"):
        keeper.tell("clicks", Feedback(unit_of(b"x", SALT), 1.0))


def test_nor_does_one_that_becomes_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("clicks", "ranker"):
        store.put_hand_over(split(name))
    keeper = Keeper(PORT, store)
    keeper.begin()
    with Book(book_file("clicks", store)) as book:
        book._base.execute("DROP TABLE units")
    for _ in range(3):
        keeper.take(told("clicks", "ranker"))
        keeper.go_on()
    keeper.close()
    with Book(book_file("ranker", store)) as book:
        assert (book.known().legacy.units, book.known().legacy.requests) == (1, 3)
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1


def test_where_no_book_can_be_opened_there_is_no_ledger(store: Store) -> None:
    store.put_hand_over(split("clicks"))
    book_file("clicks", store).write_bytes(b"no book of ours" * 100)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Keeper(PORT, store).begin()


@contextmanager
def kept(store: Store) -> Iterator[None]:
    begun, ends = threading.Event(), threading.Event()
    thread = threading.Thread(target=keep, args=(PORT, store, begun.set, ends))
    thread.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        ends.set()
        thread.join(30)


def is_open(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex((HOST, port)) == 0


def test_the_port_of_a_split_that_has_ended_closes_while_another_lasts(store: Store) -> None:
    clicks, ranker = split("clicks", free_port()), split("ranker", free_port())
    for record in (clicks, ranker):
        store.put_hand_over(record)
    with kept(store):
        assert is_open(clicks.feedback_port)
        store.put_hand_over(ended(clicks))
        eventually(lambda: not is_open(clicks.feedback_port))
        assert is_open(ranker.feedback_port)
    assert not is_open(ranker.feedback_port)
