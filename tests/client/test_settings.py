"""Flags, variables and files, those of released clients among them."""

import argparse
from pathlib import Path

import pytest

from shoal_client import cli
from shoal_client.settings import ClientSettings
from shoal_common.errors import SettingsError
from shoal_common.program import settings_of
from shoal_common.proxylist import ProxyList
from shoal_common.settings import Loaded


def settings(tmp_path: Path, file: str = "", *flags: str, **environ: str) -> Loaded[ClientSettings]:
    path = tmp_path / "shoal_client.conf"
    path.write_text(file)
    args = cli.parser().parse_args(["--config", str(path), *flags])
    return settings_of(ClientSettings, cli.NAME, args, environ)


def test_every_default_is_what_its_own_text_says() -> None:
    for option in ClientSettings.options():
        assert option.kind.parse(option.kind.show(option.default)) == option.default


@pytest.mark.parametrize("flag", ["-n", "--squids", "--caches"])
def test_the_count_has_the_names_of_all_generations(tmp_path: Path, flag: str) -> None:
    assert settings(tmp_path, "", flag, "3").settings.squids == 3


def test_servers_can_be_repeated_and_win_over_environment_and_file(tmp_path: Path) -> None:
    file = "[general]\nservers = http://file.test\n"
    flags = ("-s", "http://a.test/nearest", "--server", "http://b.test")
    loaded = settings(tmp_path, file, *flags, SHOAL_SERVER="http://env.test")
    assert loaded.settings.servers == ("http://a.test/nearest", "http://b.test")
    assert settings(tmp_path, file, SHOAL_SERVER="http://env.test").settings.servers == ("http://env.test",)
    assert settings(tmp_path, file).settings.servers == ("http://file.test",)


def test_the_file_of_a_1_0_client_is_read_with_a_warning_for_each_new_name(tmp_path: Path) -> None:
    loaded = settings(
        tmp_path,
        "[general]\nshoal_server_url = http://shoal.test/nearest\n"
        "default_squid_proxy = http://a.test:3128;DIRECT;\n",
    )
    assert loaded.settings.servers == ("http://shoal.test/nearest",)
    assert loaded.settings.default_proxy == ProxyList.parse("http://a.test:3128;DIRECT")
    assert any("[general] shoal_server_url is now [general] servers" in text for text in loaded.warnings)
    assert any(
        "[general] default_squid_proxy is now [general] default_proxy" in text for text in loaded.warnings
    )


def test_the_file_of_the_newest_old_client_is_read(tmp_path: Path) -> None:
    loaded = settings(
        tmp_path,
        "[general]\ncvmfs_url = http://shoal.test/nearestcvmfs\n"
        'conditions_url = http://shoal.test/nearestconditions\ndefault_cache_proxy = "http://a.test:3128"\n',
    )
    assert loaded.settings.servers == ("http://shoal.test/nearestcvmfs",)
    assert loaded.settings.frontier_servers == ("http://shoal.test/nearestconditions",)
    assert loaded.settings.default_proxy == ProxyList.parse("http://a.test:3128")


def test_the_file_that_a_0_6_client_edited_is_not_taken_for_our_own(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "[general]\ncvmfs_config = /etc/cvmfs/default.local\n")
    assert loaded.settings.cvmfs_config == Path("/etc/cvmfs/default.d/60-shoal.conf")
    assert "has no effect" in loaded.warnings[0]


def test_an_unknown_key_names_file_section_and_allowed_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"shoal_client.conf: \[general\] squid is unknown; .*squids"):
        settings(tmp_path, "[general]\nsquid = 3\n")


@pytest.mark.parametrize(
    "flags",
    [
        ("-n", "0"),
        ("-n", "two"),
        ("-s", "shoal.test"),
        ("-s", "http://"),
        ("-s", "http://a.test:99999"),
        ("-s", "http://a b.test"),
        ("-s", "ftp://a.test"),
        ("--default-proxy", "http://a.test:3128 DIRECT"),
        ("--default-proxy", 'http://a.test:3128";id;"'),
        ("--lan-wait", "-1"),
        ("--probe-deadline", "nan"),
        ("--probe-urls", "https://a.test/x"),
        ("--cvmfs-config", "relative.conf"),
        ("--log-level", "loud"),
        ("--splay", "-1"),
        ("--pac-file", "wpad.dat"),
        ("--cvmfs-blocks", "default.local"),
        ("--frontier-pac", "sometimes"),
        ("--frontier-string", "(serverurl=http://a.test/x)$(id)"),
        ("--reload-command", "echo 'x"),
        ("--configmap-name", "Shoal_CVMFS"),
        ("--site-local-config", "\n"),
    ],
)
def test_a_bad_value_is_refused_by_name(tmp_path: Path, flags: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match=flags[0].lstrip("-")[0]) as caught:
        settings(tmp_path, "", *flags)
    assert len(caught.value.mistakes) == 1


def test_all_flags_of_released_clients_are_known() -> None:
    args = cli.parser().parse_args(["-s", "http://a.test", "-d", "-f", "-n", "3", "-k", "-o"])
    assert isinstance(args, argparse.Namespace)
    assert (args.dump, args.frontier, args.skip_broadcast, args.force_server) == (True,) * 4
    long = ["--server", "http://a.test", "--dump", "--frontier", "--squids", "3"]
    args = cli.parser().parse_args([*long, "--skip-broadcast", "--force-server"])
    assert (args.dump, args.frontier, args.skip_broadcast, args.force_server) == (True,) * 4


def test_several_files_can_get_a_block_and_an_empty_path_means_none(tmp_path: Path) -> None:
    file = "[cvmfs]\nblocks_in = /etc/cvmfs/default.local /etc/cvmfs/domain.d/cern.ch.local\n"
    loaded = settings(tmp_path, file + "[files]\npac_file =\njson_file = /run/shoal.json\n")
    assert [path.name for path in loaded.settings.cvmfs_blocks] == ["default.local", "cern.ch.local"]
    assert loaded.settings.pac_file is None
    assert loaded.settings.json_file == Path("/run/shoal.json")
