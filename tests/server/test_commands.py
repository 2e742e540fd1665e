"""The operator's commands against a running server."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal_server import cli
from shoal_server.build import Role
from shoal_server.commands import watching
from testbed.process import wait_until
from testbed.program import environment
from tests.fakes import beat
from tests.server.process import MODULE, ServerProcess, amqp_url, publish, run

TOKEN = "correct-horse-battery"
SQUIDS = {f"192.0.2.{n}:3128" for n in (1, 2, 3)}
PRIVATE = "10.1.2.3:3128/inside"


@pytest.fixture(scope="module")
def server(new_directory: Callable[[str], Path]) -> Iterator[ServerProcess]:
    directory = new_directory("commands")
    directory.mkdir()
    table = directory / "locations.csv"
    table.write_text("network,site,latitude,longitude,city\n192.0.2.0/24,uvic,48.4,-123.3,Victoria\n")
    flags = ("--verify", "no", "--locations", table, "--operator-token", TOKEN)
    with ServerProcess(directory, *flags) as made:
        beats = [beat(uuid=f"u{n}", hostname=f"sq{n}", public_ip=f"192.0.2.{n}") for n in (1, 2, 3)]
        beats.append(beat(uuid="u9", hostname="inside", public_ip=None, private_ip="10.1.2.3"))
        publish(amqp_url(made), *(each.encode() for each in beats))
        made.await_names("sq1", "sq2", "sq3")
        yield made


def ask(server: ServerProcess, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the operator of this server."""
    given = {"SHOAL_OPERATOR_TOKEN": TOKEN, "SHOAL_SERVER": server.url} | variables
    return run(*words, **given)


def told(server: ServerProcess, *words: object) -> Any:
    """What a command says as JSON."""
    ended = ask(server, *words, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def change(server: ServerProcess, command: str, squid: str, **variables: str) -> None:
    ended = ask(server, command, squid, "--why", "kernel update", **variables)
    assert (ended.returncode, ended.stderr) == (0, "")


# --- asking -----------------------------------------------------------------------------------------


def test_status_tells_how_the_squids_and_the_servers_are(server: ServerProcess) -> None:
    before = told(server, "status")["state"]
    lines = {line.partition("  ")[0]: line for line in ask(server, "status").stdout.splitlines()}
    assert lines["state"].split()[1] in {before, told(server, "status")["state"]} <= {"ok", "filling"}
    assert lines["squids"].endswith(" 4: 4 alive")
    assert lines["intake"].endswith(" connected")
    assert told(server, "status")["squids"]["total"] == 4


def test_squids_lists_all_of_them_private_ones_too(server: ServerProcess) -> None:
    text = ask(server, "squids").stdout
    assert {line.split()[0] for line in text.splitlines()[1:]} == SQUIDS | {PRIVATE}
    assert "uvic, Victoria" in text


def test_without_the_token_it_tells_what_anybody_may_know(server: ServerProcess) -> None:
    ended = ask(server, "squids", "--json", SHOAL_OPERATOR_TOKEN="")
    assert {squid["id"] for squid in json.loads(ended.stdout)["squids"]} == SQUIDS


def test_a_filter_leaves_the_others_out(server: ServerProcess) -> None:
    assert [squid["id"] for squid in told(server, "squids", "--text", "sq2")["squids"]] == ["192.0.2.2:3128"]
    assert ask(server, "squids", "--state", "dead").stdout == "There is no such squid.\n"


def test_an_order_is_kept(server: ServerProcess) -> None:
    names = [
        squid["hostname"] for squid in told(server, "squids", "--sort", "hostname", "--descending")["squids"]
    ]
    assert names == ["sq3", "sq2", "sq1", "inside"]


def test_a_long_list_is_asked_for_in_pages(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watching, "PAGE", 2)
    monkeypatch.setenv("SHOAL_OPERATOR_TOKEN", TOKEN)
    assert cli.main(["squids", "--json", "--server", server.url]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == 4
    assert {squid["id"] for squid in found["squids"]} == SQUIDS | {PRIVATE}


def test_show_tells_all_of_one_squid_and_what_happened_to_it(server: ServerProcess) -> None:
    text = ask(server, "show", "192.0.2.2:3128").stdout
    assert "uvic, Victoria" in text
    assert " joined " in text
    found = told(server, "show", "192.0.2.2:3128")
    assert found["squid"]["hostname"] == "sq2"
    assert [event["kind"] for event in found["events"]] == ["joined"]


def test_show_says_when_there_is_no_such_squid(server: ServerProcess) -> None:
    ended = ask(server, "show", "192.0.2.77:3128")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "shoal-server: there is no squid 192.0.2.77:3128, and no record of one\n"


def test_explain_tells_every_term_and_why_not_the_others(server: ServerProcess) -> None:
    text = ask(server, "explain", "192.0.2.200").stdout
    assert text.startswith("A worker at 192.0.2.200 (uvic, Victoria; service: both) is told, best first:\n")
    assert "= distance" in text
    assert "  share  " in text
    assert "  100 %  " in text
    assert "inside" in text.partition("and not of these:")[2]
    assert "more would do" not in text
    few = ask(server, "explain", "192.0.2.200", "--count", "1").stdout
    assert "\n2 more would do, but come after those that it is told of.\n" in few
    groups = told(server, "explain", "192.0.2.200", "--count", "1")["groups"]
    assert len(groups) == len(groups[0]) == 1


# --- changing ---------------------------------------------------------------------------------------


def test_a_squid_is_drained_and_offered_again(server: ServerProcess) -> None:
    change(server, "drain", "192.0.2.1:3128")
    server.await_names("sq2", "sq3")
    change(server, "undrain", "192.0.2.1:3128")
    server.await_names("sq1", "sq2", "sq3")


def test_who_and_why_are_in_the_event_log(server: ServerProcess) -> None:
    ended = ask(server, "drain", "192.0.2.3:3128", "--why", "new disk", "--who", "ada")
    assert ended.returncode == 0
    change(server, "undrain", "192.0.2.3:3128")
    details = [event["detail"] for event in told(server, "show", "192.0.2.3:3128")["events"]]
    assert "ada: new disk" in details


def test_who_is_the_one_at_the_keyboard_even_under_sudo(server: ServerProcess) -> None:
    here = socket.gethostname()
    change(server, "drain", "192.0.2.3:3128", USER="grace")
    change(server, "undrain", "192.0.2.3:3128", USER="root", SUDO_USER="ada")
    details = [event["detail"] for event in told(server, "show", "192.0.2.3:3128")["events"]]
    assert f"grace@{here}: kernel update" in details
    assert f"ada@{here}: kernel update" in details


def test_what_is_forgotten_is_off_the_list_and_on_record(server: ServerProcess) -> None:
    publish(amqp_url(server), beat(uuid="u5", hostname="sq5", public_ip="192.0.2.5").encode())
    server.await_names("sq1", "sq2", "sq3", "sq5")
    change(server, "forget", "192.0.2.5:3128")
    server.await_names("sq1", "sq2", "sq3")
    ended = ask(server, "show", "192.0.2.5:3128")
    assert ended.stdout.startswith("192.0.2.5:3128 is not listed now.\n")
    assert "kernel update" in ended.stdout


@pytest.mark.parametrize("command", ["drain", "undrain", "forget"])
def test_nothing_changes_without_a_reason(server: ServerProcess, command: str) -> None:
    ended = ask(server, command, "192.0.2.1:3128")
    assert ended.returncode == 2
    assert "--why" in ended.stderr
    server.await_names("sq1", "sq2", "sq3")


def test_nothing_changes_without_the_token(server: ServerProcess) -> None:
    ended = ask(server, "drain", "192.0.2.1:3128", "--why", "x", SHOAL_OPERATOR_TOKEN="")
    assert ended.returncode == 2
    assert "SHOAL_OPERATOR_TOKEN" in ended.stderr
    ended = ask(server, "drain", "192.0.2.1:3128", "--why", "x", SHOAL_OPERATOR_TOKEN="wrong-horse-battery")
    assert ended.returncode == 1
    assert "token" in ended.stderr
    assert not [squid for squid in told(server, "squids")["squids"] if squid["draining"]]


# --- the command line -------------------------------------------------------------------------------


def test_the_help_names_every_command_in_letters_of_any_terminal() -> None:
    text = run("--help", PYTHONIOENCODING="ascii").stdout
    for name, (_, summary) in cli.COMMANDS.items():
        assert f"  {name} " in text
        assert summary in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    ended = run(name, "--help", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: shoal-server {name} ")
    assert "--json" in ended.stdout


def test_the_roles_of_the_command_line_are_those_that_a_server_has() -> None:
    assert set(cli.ROLES) == set(Role)


def test_what_is_no_command_and_no_role_is_told() -> None:
    ended = run("staus")
    assert ended.returncode == 2
    assert "'staus' is no command, and none of web, intake, verify" in ended.stderr


def test_a_command_behind_a_flag_is_told_where_it_belongs() -> None:
    ended = run("--log-level", "info", "status")
    assert ended.returncode == 2
    assert "a command comes first: shoal-server status" in ended.stderr


@pytest.mark.parametrize("words", [["web"], ["run", "web"]])
def test_roles_are_taken_with_and_without_the_word_run(words: list[str]) -> None:
    ended = run(*words, "--listen", "127.0.0.1:0")
    assert ended.returncode == 2
    assert "servers that share the work need a Redis" in ended.stderr


def test_a_reader_that_has_seen_enough_is_no_error(server: ServerProcess) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        ended = subprocess.run(
            [sys.executable, "-m", MODULE, "squids", "--server", server.url],
            env=environment(HOME="/nonexistent"),
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=20,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_run_serves_until_a_signal(new_directory: Callable[[str], Path]) -> None:
    class Run(ServerProcess):
        def command(self) -> list[str]:
            words = super().command()
            at = words.index(MODULE) + 1
            return [*words[:at], "run", *words[at:]]

    with Run(new_directory("run")) as server:
        wait_until(lambda: server.get("/nearest").ok, 5, "an answer")
        server.stop()
    assert not server.running
