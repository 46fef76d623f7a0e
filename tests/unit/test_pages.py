"""The pages for those who use stopgap say what the code says, and lead nowhere where nothing is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import grpc
import pytest
import stopgap
from stopgap import LoadedModel, errors
from stopgap.cli.main import cli

from tools.command_line_page import commands
from tools.docstrings import docstring_of
from tools.limit_rows import OF_A_DEPLOYMENT, OF_A_REQUEST
from tools.pages import DOCS, PAGES
from tools.python_api_page import FUNCTIONS, MADE_BY_FUNCTIONS, VALUES, WARNINGS, members
from tools.status_rows import MEANINGS

WRITTEN = [*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "type: make docs"


def test_the_public_names_are_exactly_these() -> None:
    documented = {*FUNCTIONS, *MADE_BY_FUNCTIONS, *VALUES, *WARNINGS, *errors.__all__}
    assert set(stopgap.__all__) == documented
    assert stopgap.__all__ == sorted(stopgap.__all__)
    assert dir(stopgap) == stopgap.__all__
    assert [getattr(stopgap, name).__name__ for name in stopgap.__all__] == stopgap.__all__
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        stopgap.nope  # noqa: B018


@pytest.mark.parametrize("name", stopgap.__all__)
def test_every_public_name_and_all_that_it_has_is_explained(name: str) -> None:
    thing = getattr(stopgap, name)
    assert docstring_of(thing).text
    for _, member in members(thing) if inspect.isclass(thing) else ():
        assert docstring_of(member).text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_explained(name: str) -> None:
    function = getattr(stopgap, name)
    assert docstring_of(function).entries["Args"].keys() == inspect.signature(function).parameters.keys()


def test_every_command_and_option_is_explained() -> None:
    for name, command in commands(cli):
        assert command.help, name
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{name} {option.name}"


def test_the_options_and_arguments_that_set_a_limit_are_there() -> None:
    options = {option for _, command in commands(cli) for each in command.params for option in each.opts}
    arguments = {*inspect.signature(stopgap.load).parameters, *inspect.signature(LoadedModel.predict).parameters}
    for row in (*OF_A_DEPLOYMENT, *OF_A_REQUEST):
        assert options.issuperset(re.findall(r"--[a-z-]+", row.option)), row
        assert not row.argument or row.argument in arguments, row


def test_every_status_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(grpc.StatusCode)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", prose(page)):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{page.name}: {target}#{anchor}"


def prose(page: Path) -> str:
    """All but the code, in which brackets are something else."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
