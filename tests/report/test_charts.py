"""The charts and the words around them: what they hold on to whatever the numbers are."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from stopgap.comparison.result import Finding, Quantiles
from stopgap.comparison.sketch import Sketch
from stopgap.errors import ComparisonError
from stopgap.report import charts, needed
from stopgap.report.charts import Balance, Course, Distribution, Interval, Mark, grid, spread
from stopgap.report.drawing import NAMES, NARROW, WIDE, Sheet
from stopgap.report.files import check_writable, write_whole
from stopgap.report.harmless import harmless
from stopgap.report.numbers import Telling, counted, power_of_ten
from stopgap.report.words import heading_of, headline, scope_of

from tests.report_at_hand import retrained

SHEET = Sheet(WIDE, "title <&>", "description")
SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    """What stands in a page of ours: no style, no colours of its own, told to a screen reader."""
    root = ElementTree.fromstring(text)  # noqa: S314 - it was drawn here
    for element in root.iter():
        assert element.tag.startswith(SVG)
        assert element.tag.removeprefix(SVG) not in ("script", "style", "image", "foreignObject", "a")
        assert "style" not in element.attrib
        colours = {element.get(key, "none") for key in ("fill", "stroke")}
        assert colours == {"none"}, "a colour, where a class was due"
    identities = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(identities) == len(set(identities))
    told = (root.get("aria-labelledby") or "").split()
    assert len(told) == 2
    assert set(told) <= set(identities)
    assert root.get("role") == "img"
    return root


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def test_a_chart_knows_classes_and_no_colours() -> None:
    found = Course([1, 2, 3, 4], [0.5, 0.9, 0.95, 0.96], [0.1, 0.5, 0.9, 0.94], [1, 1, 0.99, 0.98], margin=0.97)
    root = parsed(
        charts.course(
            found,
            Telling("share"),
            SHEET,
        )
    )
    classes = {name for element in root.iter() for name in (element.get("class") or "").split()}
    assert {"stroke-evidence", "fill-evidence", "stroke-margin", "fill-muted"} <= classes
    assert {"margin 97 %", "units"} <= set(words(root))
    assert root.find(f"{SVG}title").text == "title <&>"  # type: ignore[union-attr]


def test_every_class_of_a_chart_is_in_the_stylesheet() -> None:
    style = (Path(charts.__file__).parent / "page.css").read_text(encoding="utf-8")
    for name in NAMES.values():
        assert f".fill-{name} " in style
        assert f".stroke-{name} " in style
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    light, dark, paper = (set(re.findall(r"--([a-z-]+):", block)) for block in blocks)
    assert light == dark == paper


def test_a_name_is_no_formula_and_no_markup() -> None:
    names = [r"$\frac{1}{0}$", "<script>", "$", "a" * 1000, "日本", "", "&amp;"]
    rows = [Interval(name, 0.5, 0.4, 0.6) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = parsed(charts.intervals(rows, Telling("share"), SHEET, margin=0.5))
    told = words(root)
    for name in names[:3]:
        assert name in told
    assert max(map(len, told)) <= charts.LONGEST_LABEL
    pairs = [Balance(f"{name} → x", f"x → {name}", 3, 1) for name in names]
    assert "<script> → x" in words(parsed(charts.balances(pairs, SHEET)))


ODD = (
    (0.0,),
    (1.0,),
    (1.0, 1.0),
    (0.5, 0.500001, 0.5),
    (-3e38, 0.0, 3e38),
    (1e-45, 2e-45),
    (-1e-30, 1e30),
    (5e-324, 1.7e308),
    (math.pi,) * 30,
    tuple(float(each) for each in range(-20, 20)),
)


@pytest.mark.parametrize("values", ODD)
def test_a_course_is_drawn_of_any_numbers(values: tuple[float, ...]) -> None:
    units = [10 * (place + 1) for place in range(len(values))]
    lower, upper = [min(values)] * len(values), [max(values)] * len(values)
    for kind, margin in (("share", None), ("number", values[0]), ("seconds", 1e9)):
        parsed(charts.course(Course(units, values, lower, upper, values, margin), Telling(kind), SHEET))
    parsed(charts.strip(Interval("x", values[0], min(values), max(values)), "x", "y", margin=values[-1]))


@pytest.mark.parametrize("values", ODD)
def test_a_distribution_is_drawn_of_any_numbers(values: tuple[float, ...]) -> None:
    marks = [Mark(values[0], "mark", "legacy"), Mark(math.nan, "no")]
    for logarithmic in (True, False):
        sketch = Sketch()
        sketch.add(np.abs(values) if logarithmic else np.array(values))
        found = Distribution("x", "legacy", sketch.bins())
        parsed(charts.distributions([found], Telling(), SHEET, marks=marks, label="$x", logarithmic=logarithmic))


@pytest.mark.parametrize("logarithmic", [True, False])
def test_no_number_is_lost_between_the_bins(logarithmic: bool) -> None:
    drawn = np.random.default_rng(0)
    for values in (
        drawn.lognormal(-8, 3, 5000),
        drawn.lognormal(0, 0.01, 5000),
        np.ones(7),
        np.r_[np.zeros(50), 1.0, 2.0],
    ):
        sketch = Sketch()
        sketch.add(values)
        bins = sketch.bins()
        shares, zeros = spread(bins, grid(bins, logarithmic), logarithmic)
        assert shares.sum() + zeros == pytest.approx(1)
        assert not logarithmic or zeros == pytest.approx((values == 0).mean())


def test_two_distributions_are_told_apart_without_colour() -> None:
    sketch = Sketch()
    sketch.add(np.random.default_rng(0).lognormal(-5, 1, 500))
    both = [Distribution(name, name, sketch.bins()) for name in ("legacy", "candidate")]
    root = parsed(charts.distributions(both, Telling("seconds"), Sheet(NARROW, "latency", "")))
    dashed = {
        name
        for element in root.iter()
        for name in (element.get("class") or "").split()
        if element.get("stroke-dasharray")
    }
    assert "stroke-candidate" in dashed
    assert "stroke-legacy" not in dashed
    assert {"legacy", "candidate"} <= set(words(root))


def test_numbers_are_told_with_the_digits_that_matter() -> None:
    share, seconds, number = Telling("share"), Telling("seconds"), Telling()
    assert [share.told(each) for each in (0.964, 1.0, 0.99999, 0.999_999_9, 0.0, 1e-7)] == [
        "96.4 %",
        "100 %",
        "99.999 %",
        "> 99.9999 %",
        "0 %",
        "10⁻⁵ %",
    ]
    assert [seconds.told(each) for each in (0.00215, 2.0, 3e-6, 0.0)] == ["2.15 ms", "2 s", "3 µs", "0 ns"]
    assert [number.told(each) for each in (0.0123456, -2.0, 1e-7, -2.5e-12, math.nan, -math.inf)] == [
        "0.01235",
        "−2",
        "10⁻⁷",
        "−2.5·10⁻¹²",
        "–",
        "−∞",
    ]
    assert (power_of_ten(1.0), power_of_ten(1e6)) == ("1", "10⁶")
    assert (counted(1, "unit"), counted(2000, "batch", "batches")) == ("1 unit", "2,000 batches")


def finding(**changes: object) -> Finding:
    (first, *_) = retrained(30, kept=False).result.conditions
    return replace(first, **changes)  # type: ignore[arg-type]  # whatever a test changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"outcome": "PASS", "estimate": 0.99, "margin": 0.97}, "99 % of answers are equal, above the margin of 97 %"),
        ({"outcome": "FAIL", "estimate": 0.9, "margin": 0.97}, "90 % of answers are equal, below the margin of 97 %"),
        ({"outcome": "INCONCLUSIVE", "estimate": 0.9, "margin": 0.97}, "not yet told from the margin of 97 %"),
        ({"outcome": "INCONCLUSIVE", "estimate": 0.9, "margin": None}, "no margin was stated"),
        ({"outcome": "SHOWN", "estimate": 0.9, "margin": None}, "shown, not judged"),
        ({"measure": "made_up", "estimate": 0.9, "margin": None}, "the mean is 90 %"),
        ({"estimate": math.nan}, "there is no unit to judge"),
    ],
)
def test_a_heading_says_what_was_found(changes: dict[str, object], said: str) -> None:
    assert said in heading_of(finding(**changes))


def test_the_headline_says_what_is_to_be_done() -> None:
    result = retrained(30, kept=False).result

    def of(outcome: str, *conditions: Finding, **changes: object) -> str:
        return headline(replace(result, outcome=outcome, conditions=conditions, **changes))  # type: ignore[arg-type]

    passed, failed = finding(outcome="PASS"), finding(outcome="FAIL")
    open_ = finding(outcome="INCONCLUSIVE", more_units=1234)
    assert of("PASS", passed, passed, scope="file") == "The candidate holds all 2 margins on this file"
    assert of("PASS", passed, scope="stream") == "The candidate holds its margin"
    assert of("FAIL", passed, failed) == "The candidate misses 1 of 2 margins"
    assert of("INCONCLUSIVE", passed, open_) == "Not decided yet: about 1,234 more units are needed"
    assert of("INCONCLUSIVE", replace(open_, margin=None)).startswith("No verdict: without a stated margin")
    assert of("INCONCLUSIVE", replace(open_, more_units=None)) == "Not decided"
    assert "no bounds" in of("INCONCLUSIVE", finding(outcome="SHOWN"))
    assert "not claimed" in scope_of(replace(result, scope="file")).replace("\n", " ")
    assert "after every unit" in scope_of(replace(result, scope="stream"))
    assert "3 candidates" in scope_of(replace(result, candidates=3))


def test_every_text_is_bounded_and_printable() -> None:
    found = harmless(finding(name="\x00" * 1000, reasons={"\u202e": 1} | {str(n): n for n in range(10_000)}))
    assert len(found.name) < 1000
    assert found.name.startswith("\\x00")
    assert len(found.reasons) == 400
    assert "\\u202e" in found.reasons
    assert isinstance(found.values, Quantiles)


def test_a_file_is_written_whole_and_private_where_it_has_to_be(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write_whole(file, "open", private=False)
    assert file.stat().st_mode & 0o777 == 0o644
    write_whole(file, "\ud800 secret", private=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == "\\ud800 secret"
    assert list(tmp_path.iterdir()) == [file]
    for wrong in (tmp_path, tmp_path / "nowhere" / "report.html"):
        with pytest.raises(ComparisonError, match="cannot be written"):
            check_writable(wrong)
        with pytest.raises(ComparisonError, match="cannot be written"):
            write_whole(wrong, "", private=False)
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_not_installed_is_said_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    needed.check_installed()
    monkeypatch.setattr(needed, "NEEDED", {"no_such_module": "matplotlib"})
    with pytest.raises(ComparisonError, match=r"not installed: matplotlib\.") as refused:
        needed.check_installed()
    assert "pip install 'stopgap[report]'" in refused.value.remedy
