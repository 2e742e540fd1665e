"""docs/architecture.md names every module, and none that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = ["shoal_server", "shoal_agent", "shoal_client", "shoal_common"]


def modules(program: str) -> set[str]:
    """Their names, without folders and `.py`."""
    return {path.stem for path in (ROOT / program).rglob("*.py")} - {"__init__"}


def named(program: str) -> set[str]:
    """What stands in backticks in a program's table or paragraph; of a path its last part."""
    text = (ROOT / "docs/architecture.md").read_text()
    part = re.split(r"\n\n(?:\*\*shoal_|## )", text.split(f"**{program}**", 1)[1], maxsplit=1)[0]
    return {one.rpartition("/")[2] for one in re.findall(r"`([a-z][a-z0-9_/]*[a-z0-9])`", part)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_module_of_a_program_is_named(program: str) -> None:
    assert modules(program) - named(program) == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_module_is_named_that_is_not_there(program: str) -> None:
    assert named(program) - modules(program) == set()
