"""The grammar of every file, against whatever a server may answer."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import pacparser
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shoal_client import cvmfs, formats, shell
from shoal_client.documents import NOTICE
from shoal_client.frontier import parse, rewrite
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.proxylist import ProxyList
from tests.client import hostile

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://[2001:db8::1]:3128;http://sq.test:3128;DIRECT")
SERVERS = "(serverurl=http://a.test:8000/atlr)(proxyurl=http://s.test:3128)"


def evaluated(pac: bytes) -> str:
    pacparser.init()
    try:
        pacparser.parse_pac_string(pac.decode("ascii"))
        answer: str = pacparser.find_proxy("http://a.test/x", "a.test")
    finally:
        pacparser.cleanup()
    return answer


def test_a_pac_file_gives_each_proxy_in_order_and_direct_only_if_it_was_asked_for() -> None:
    expected = "PROXY http://192.0.2.1:3128; PROXY http://[2001:db8::1]:3128; PROXY http://sq.test:3128"
    assert evaluated(formats.pac(CHAIN)) == f"{expected}; DIRECT"
    assert evaluated(formats.pac(ProxyList(CHAIN.groups[:-1]))) == expected


def test_what_a_pac_reader_does_not_know_is_left_out() -> None:
    chain = ProxyList.parse("https://a.test:3128;auto;http://user@b.test:3128;http://c.test:3128")
    assert evaluated(formats.pac(chain)) == "PROXY http://c.test:3128"


@effort(max_examples=60)
@given(hostile.chains)
def test_no_answer_puts_anything_but_proxies_into_a_pac_file(chain: ProxyList) -> None:
    pac = formats.pac(chain)
    proxy = r"PROXY http://[A-Za-z0-9.:_\-\[\]]+"
    lines = pac.decode("ascii").splitlines()
    assert lines[0] == f"// {NOTICE}"
    assert re.fullmatch(rf'    return "{proxy}(; {proxy})*";', lines[3])
    assert evaluated(pac).split("; ") == [f"PROXY {url}" for url in chain.members]


@given(hostile.chains)
def test_no_answer_puts_anything_but_proxies_into_the_json_file(chain: ProxyList) -> None:
    told = json.loads(formats.as_json(chain))
    assert ProxyList.of(told["groups"]) == ProxyList.parse(told["cvmfs_http_proxy"]) == chain
    assert told["direct"] is False
    assert set(told) == {"comment", "groups", "direct", "cvmfs_http_proxy", "frontier"}


@given(hostile.chains)
def test_no_answer_puts_anything_but_proxies_into_a_config_map(chain: ProxyList) -> None:
    manifest = json.loads(formats.config_map("shoal-cvmfs", "cvmfs", Path("x"), chain).compose(None))
    assert manifest["data"] == {"60-shoal.conf": cvmfs.render(chain).decode()}
    assert manifest["metadata"] == {"name": "shoal-cvmfs", "namespace": "cvmfs"}
    assert (manifest["apiVersion"], manifest["kind"]) == ("v1", "ConfigMap")


def shell_says(file: Path, variable: str) -> bytes:
    """What a login shell has in `variable` after reading the file, and nothing else that it printed."""
    script = f'set -eu; . {file}; env -i X="${variable}" /usr/bin/env'
    return subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, check=True).stdout


@effort(max_examples=40)
@given(hostile.chains)
def test_no_answer_puts_anything_but_proxies_into_a_profile(chain: ProxyList) -> None:
    value = rewrite(SERVERS, chain)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "shoal.sh")
        file.write_bytes(formats.variable(file, "FRONTIER_SERVER", value))
        assert shell_says(file, "FRONTIER_SERVER") == f"X={value}\n".encode()
    assert {group.key for group in parse(value)} == {"serverurl", "proxyurl"}


@effort(max_examples=40)
@given(hostile.chains)
def test_no_answer_puts_anything_but_proxies_into_what_cvmfs_reads(chain: ProxyList) -> None:
    found = shell.parameters(cvmfs.render(chain, chain), Path("/"), {"PATH": "/usr/bin:/bin"})
    assert found == {cvmfs.PROXIES: chain.to_cvmfs(), cvmfs.EXTERNAL: chain.to_cvmfs()}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("p.sh", 'export http_proxy="http://192.0.2.1:3128"'),
        ("p.csh", 'setenv http_proxy "http://192.0.2.1:3128"'),
        ("p.env", 'http_proxy="http://192.0.2.1:3128"'),
    ],
)
def test_an_environment_file_has_the_grammar_that_its_name_asks_for(
    tmp_path: Path, name: str, line: str
) -> None:
    document = formats.http_proxy(tmp_path / name, CHAIN)
    assert document.write()
    assert (tmp_path / name).read_text() == f"# {NOTICE}\n{line}\n"


def test_a_chain_without_an_http_proxy_has_no_such_line() -> None:
    with pytest.raises(Unavailable, match="no proxy in it can be an http_proxy"):
        formats.http_proxy(Path("/tmp/x"), ProxyList.parse("https://a.test:3128")).change()


@given(st.text(max_size=30))
def test_nothing_that_a_shell_acts_upon_is_ever_quoted(text: str) -> None:
    try:
        quoted = shell.quoted(text)
    except InvalidProxyList:
        return
    done = subprocess.run(
        ["/bin/sh"], input=f"printf %s {quoted}", capture_output=True, text=True, check=True
    )
    assert done.stdout == text
