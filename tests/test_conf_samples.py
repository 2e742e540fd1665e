"""The sample files are made from the settings in the code, and say what holds without them."""

from pathlib import Path

import pytest

from shoal_agent.settings import AgentSettings
from shoal_client.settings import ClientSettings
from shoal_common.settings import Settings, load
from shoal_server.settings import ServerSettings
from tools.conf import CONF, samples

DECLARED: dict[str, type[Settings]] = {
    "shoal_server.conf": ServerSettings,
    "shoal_agent.conf": AgentSettings,
    "shoal_client.conf": ClientSettings,
}


def test_there_is_a_sample_for_each_program_and_no_other() -> None:
    assert {path.name for path in samples()} == {path.name for path in CONF.glob("*.conf")} == set(DECLARED)


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.name)
def test_a_sample_is_what_the_code_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == samples()[path], "make conf"


@pytest.mark.parametrize("name", DECLARED)
def test_a_sample_read_as_it_is_gives_the_defaults_without_a_warning(name: str) -> None:
    loaded = load(DECLARED[name], flags={}, environ={}, path=CONF / name, usual=[])
    assert (loaded.settings, loaded.warnings) == (DECLARED[name](), ())


@pytest.mark.parametrize("name", DECLARED)
def test_a_sample_tells_every_key_with_a_reason_its_values_its_flag_and_its_variable(name: str) -> None:
    text = (CONF / name).read_text(encoding="utf-8")
    for option in DECLARED[name].options():
        section = text.partition(f"\n[{option.section}]\n")[2].partition("\n[")[0]
        above, found, _ = section.partition(f"\n{option.key} =")
        comment = " ".join(above.rpartition("\n\n")[2].replace("#", " ").split())
        assert found
        for words in (option.doc, option.kind.allowed, option.flags[-1], option.variable):
            assert " ".join(words.split()) in comment
