"""CMS's site-local-config.xml, edited."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given

from shoal_client import cms
from shoal_common.errors import Unavailable
from shoal_common.proxylist import ProxyList
from tests.client import hostile

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://[2001:db8::1]:3128;DIRECT")
FILE = """<?xml version='1.0'   encoding="ISO-8859-1"?>
<!-- kept -->
<!DOCTYPE site-local-config>

<site-local-config>
<site name="T2_XX_Example"   >
   <event-data><catalog url='trivialcatalog_file:/x?protocol=a&amp;b'/></event-data>
   <calib-data>
     <frontier-connect>
       <load balance="proxies" />
\t<proxy url="http://one.test:3128"></proxy>
       <proxy   url = 'http://two.test:3128'/> <!-- <proxy url="http://no.test"/> \xe9 -->
       <backupproxy url="http://cmsbpfrontier.cern.ch:3128"/>
       <server url="http://frontier.test:8000/FrontierInt"/>
     </frontier-connect>
   </calib-data>
   <local-stage-out><command value="x"/></local-stage-out>
</site>
</site-local-config>""".encode("latin-1")


def edited(before: bytes, chain: ProxyList = CHAIN, equals: ProxyList | None = None) -> bytes:
    return cms.site_local_config(Path("/tmp/x.xml"), chain, equals or chain).compose(before)


def proxies(text: bytes, name: str = "proxy") -> list[str]:
    root = ElementTree.fromstring(text)  # noqa: S314 - our own text
    return [str(child.get("url")) for child in root.iterfind(f".//frontier-connect/{name}")]


def test_our_proxies_come_first() -> None:
    assert proxies(edited(FILE)) == [
        "http://192.0.2.1:3128",
        "http://[2001:db8::1]:3128",
        "http://one.test:3128",
        "http://two.test:3128",
    ]


def test_a_near_squid_of_the_sites_own_comes_before_a_far_one_of_ours() -> None:
    chain = ProxyList.parse("http://one.test:3128;http://192.0.2.9:3128")
    after = edited(FILE, chain)
    assert proxies(after) == ["http://one.test:3128", "http://192.0.2.9:3128", "http://two.test:3128"]
    assert edited(after, CHAIN) == edited(FILE)


def test_a_near_squid_of_the_sites_own_comes_before_a_far_one_where_the_proxies_stand_last() -> None:
    server = b'<server url="http://frontier.test:8000/FrontierInt"/>'
    text = FILE.replace(server, b"").replace(b"<load ", server + b"<load ").replace(b"backupproxy", b"proxy")
    last = ProxyList.parse("http://cmsbpfrontier.cern.ch:3128;http://192.0.2.9:3128")
    after = edited(text, last)
    assert proxies(after) == [*proxies(text), "http://192.0.2.9:3128"]
    assert edited(after, last) == after
    assert edited(after, ProxyList.parse("http://one.test:3128")) == text


def test_a_file_that_balances_load_gets_no_far_squid_as_an_equal() -> None:
    near = ProxyList.parse("http://192.0.2.1:3128")
    balanced = proxies(edited(FILE, CHAIN, near))
    assert balanced == ["http://192.0.2.1:3128", "http://one.test:3128", "http://two.test:3128"]
    in_turn = FILE.replace(b'balance="proxies"', b'balance="servers"')
    by_pac = FILE.replace(b"<backupproxy", b'<proxyconfig url="http://wpad/wpad.dat"/><backupproxy')
    for text in (in_turn, by_pac):
        assert proxies(edited(text, CHAIN, near))[:2] == list(CHAIN.proxies)


@pytest.mark.parametrize("text", [FILE, FILE.replace(b"\n", b"\r\n"), FILE.replace(b"\n", b"")])
def test_every_other_byte_stays(text: bytes) -> None:
    after = edited(text)
    at = after.index(cms.START)
    added = len(after) - len(text)
    assert after[:at] + after[at + added :] == text
    assert edited(after) == after
    other = ProxyList.parse("http://192.0.2.9:3128")
    assert edited(after, other) == edited(text, other)


def test_what_is_left_when_there_is_nothing_to_add_is_the_sites_own_file() -> None:
    assert edited(edited(FILE), ProxyList.parse("http://one.test:3128")) == FILE


def test_the_new_lines_are_indented_as_the_line_that_they_precede() -> None:
    assert b'\n\t<proxy url="http://192.0.2.1:3128"/>\n\t<proxy ' in edited(FILE)


def test_without_proxies_of_the_sites_ours_come_before_all_else() -> None:
    text = FILE.replace(b"<proxy ", b"<prefer ").replace(b"</proxy>", b"</prefer>")
    assert proxies(edited(text)) == ["http://192.0.2.1:3128", "http://[2001:db8::1]:3128"]


def test_there_are_never_more_than_24() -> None:
    many = ProxyList.of([[f"http://x{number}.test:3128"] for number in range(40)])
    after = edited(FILE, many)
    assert len(proxies(after)) + len(proxies(after, "backupproxy")) == 24


def test_what_a_proxyurl_cannot_be_is_left_out() -> None:
    chain = ProxyList.parse("https://a.test:1;http://u%22@b.test:1;auto;DIRECT;http://c.test:1")
    assert proxies(edited(FILE, chain))[:2] == ["http://c.test:1", "http://one.test:3128"]


def test_the_servers_are_found(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_bytes(FILE)
    assert cms.server_urls(tmp_path / "x.xml") == ("http://frontier.test:8000/FrontierInt",)
    assert cms.server_urls(tmp_path / "away.xml") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is no XML"),
        (FILE[:-5], "is no XML"),
        (FILE.replace(b"frontier-connect", b"frontier"), "one frontier-connect"),
        (FILE.replace(b"calib-data", b"other-data"), "one frontier-connect"),
        (
            FILE.replace(
                b"<local-stage-out>",
                b"<calib-data><frontier-connect><a/></frontier-connect></calib-data><local-stage-out>",
            ),
            "one frontier-connect",
        ),
        (b"<a><calib-data><frontier-connect/></calib-data></a>", "one frontier-connect"),
        (FILE.replace(b"<!DOCTYPE site-local-config>", b'<!DOCTYPE a [<!ENTITY b "c">]>'), "entities"),
        (FILE.decode("latin-1").replace("ISO-8859-1", "UTF-16").encode("utf-16"), "encoding"),
        (FILE.replace(b"ISO-8859-1", b"x-none"), "is no XML"),
        (FILE + cms.START, "damaged"),
        (FILE + cms.END + cms.START, "damaged"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_left_as_it_is(text: bytes, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        edited(text)


def test_no_file_is_made_where_the_site_has_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        cms.site_local_config(tmp_path / "x.xml", CHAIN, CHAIN).write()


@given(hostile.chains)
def test_no_answer_changes_anything_but_the_proxies(chain: ProxyList) -> None:
    after = edited(FILE, chain)
    start, end = after.index(cms.START), after.index(cms.END) + len(cms.END) + len(b"\n\t")
    assert after[:start] + after[end:] == FILE
    assert proxies(after)[:-2] == list(chain.members)
