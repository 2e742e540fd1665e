"""What runs a server for an operator: systemd units, container, compose file, reverse proxy."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shoal_server import cli
from shoal_server.settings import ServerSettings
from testbed.process import ROOT
from tools.conf import CONF

SERVERS = ["shoal-server.service", "shoal-server@.service"]
UNITS = [*SERVERS, "shoal-geoip.service", "shoal-geoip.timer"]
PARTS = {"shoal-server.service": ("",), "shoal-server@.service": cli.ROLES}
LONGEST_STOP_SECONDS = 3
HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service ~@privileged",
}
CONTAINER = CONF / "container"


class _Several(dict[str, str]):
    """systemd lets a key stand several times; its values add up."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and key in self:
            value = [" ".join([*self[key], *value])]
        super().__setitem__(key, value)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, comment_prefixes=("#",), dict_type=_Several
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((CONF / name).read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("name", SERVERS)
def test_a_unit_runs_a_command_that_there_is(name: str) -> None:
    program, *words = shlex.split(unit(name)["Service"]["ExecStart"])
    assert program == "shoal-server"
    for part in PARTS[name]:
        given = [word.replace("%i", part) for word in words]
        assert given[0] == cli.RUN
        assert cli.running_parser().parse_args(given[1:]).roles == ([part] if part else [])


@pytest.mark.parametrize("name", [*SERVERS, "shoal-geoip.service"])
def test_a_unit_is_hardened(name: str) -> None:
    service = unit(name)["Service"]
    assert {key: service.get(key) for key in HARDENED} == HARDENED


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_has_no_user_that_outlives_it(name: str) -> None:
    assert unit(name)["Service"]["DynamicUser"] == "yes"


def test_the_unit_that_fetches_a_database_runs_a_command_that_there_is() -> None:
    program, name, *words = shlex.split(unit("shoal-geoip.service")["Service"]["ExecStart"])
    assert (program, name) == ("shoal-server", "geoip")
    taken = cli.command_parser(name)[1].parse_args(words)
    assert taken.action == "fetch"
    assert taken.to == Path("/var/lib", unit("shoal-geoip.service")["Service"]["StateDirectory"])


@pytest.mark.parametrize("name", SERVERS)
def test_a_unit_starts_the_server_again_whatever_ended_it(name: str) -> None:
    parsed = unit(name)
    assert parsed["Service"]["Restart"] == "always"
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    assert parsed["Service"]["KillMode"] == "control-group"
    assert int(parsed["Service"]["TimeoutStopSec"]) > LONGEST_STOP_SECONDS


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    for each in UNITS:
        text = (CONF / each).read_text().replace("ExecStart=shoal-server", "ExecStart=/bin/true")
        (tmp_path / each.replace("@", "@web")).write_text(text)
    file = tmp_path / name.replace("@", "@web")
    checked = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, check=False, timeout=30
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_commands_of_the_manual_are_commands_that_there_are() -> None:
    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])shoal-server ([a-z][a-z-]*)", text))
    assert named >= set(cli.COMMANDS) - {"undrain", "forget", "locate"}
    assert named <= {cli.RUN, *cli.ROLES, *cli.COMMANDS}


def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    return parsed


def containerfile() -> list[tuple[str, str]]:
    """Instruction and argument of each line, joined where it goes on."""
    text = re.sub(r"\\\n", " ", (CONTAINER / "Containerfile").read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, rest in lines]


def test_the_container_does_not_run_as_root() -> None:
    users = [rest for name, rest in containerfile() if name == "USER"]
    assert users == ["65532:65532"]


def test_the_container_holds_what_is_there_to_be_copied() -> None:
    copied = [rest.split() for name, rest in containerfile() if name == "COPY" and "--from" not in rest]
    sources = [source for words in copied for source in words[:-1]]
    assert {"setup.cfg", "pyproject.toml", "shoal_common", "shoal_server"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_the_container_runs_a_command_that_there_is() -> None:
    said = dict(containerfile())
    assert said["ENTRYPOINT"] == '["/usr/local/bin/shoal-server"]'
    assert said["CMD"] == f'["{cli.RUN}"]'
    assert "/readyz" in said["HEALTHCHECK"]


def test_the_variables_of_the_compose_file_are_settings() -> None:
    known = {option.variable for option in ServerSettings.options()}
    for name in ("shoal1", "shoal2"):
        assert set(compose()["services"][name]["environment"]) <= known


def test_the_compose_file_trusts_its_proxy_and_nobody_else() -> None:
    services = compose()["services"]
    address = services["proxy"]["networks"]["default"]["ipv4_address"]
    for name in ("shoal1", "shoal2"):
        assert services[name]["environment"]["SHOAL_TRUSTED_PROXIES"] == address


def test_each_service_of_the_compose_file_is_checked_kept_running_and_bounded_in_its_logs() -> None:
    for name, service in compose()["services"].items():
        assert service["restart"] == "always"
        assert service["logging"]["options"]["max-size"]
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_the_proxy_finds_both_servers_by_the_names_in_its_example() -> None:
    example = (CONF / "nginx" / "shoal.conf").read_text()
    for name in ("shoal1", "shoal2"):
        (alias,) = compose()["services"][name]["networks"]["default"]["aliases"]
        assert f"server {alias}:8080" in example
    (volume,) = compose()["services"]["proxy"]["volumes"]
    assert (CONTAINER / volume.partition(":")[0]).resolve() == CONF / "nginx" / "shoal.conf"


def test_every_volume_of_the_compose_file_is_declared() -> None:
    named = {
        volume.partition(":")[0]
        for service in compose()["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }
    assert named == set(compose()["volumes"])
