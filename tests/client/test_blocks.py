"""A marked block in an administrator's file."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from shoal_client import administrator, cvmfs
from shoal_client.settings import ClientSettings
from shoal_common.errors import Unavailable
from shoal_common.proxylist import ProxyList

CHAIN = ProxyList.parse("http://192.0.2.1:3128|http://192.0.2.2:3128;DIRECT")
OTHER = ProxyList.parse("http://192.0.2.7:3128")
THEIRS = 'CVMFS_QUOTA_LIMIT=20000 # MB\nCVMFS_HTTP_PROXY="http://site.test:3128;DIRECT"\n'


def block(chain: ProxyList) -> str:
    return f'{cvmfs.BLOCK_START}\nCVMFS_HTTP_PROXY="{chain.to_cvmfs()}"\n{cvmfs.BLOCK_END}\n'


@pytest.mark.parametrize("theirs", ["", THEIRS, THEIRS.replace("\n", "\r\n") + "# end\n"])
def test_every_other_byte_stays(tmp_path: Path, theirs: str) -> None:
    file = tmp_path / "default.local"
    file.write_bytes(theirs.encode())
    assert cvmfs.block_in(file, CHAIN).write()
    assert file.read_bytes() == (theirs + block(CHAIN)).encode()
    assert cvmfs.block_in(file, OTHER).write()
    assert file.read_bytes() == (theirs + block(OTHER)).encode()
    assert not cvmfs.block_in(file, OTHER).write()


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    cvmfs.block_in(tmp_path / "default.local", CHAIN).write()
    assert (tmp_path / "default.local").read_text() == block(CHAIN)


def test_a_last_line_without_an_end_gets_one(tmp_path: Path) -> None:
    (tmp_path / "default.local").write_text("CVMFS_NFILES=65536")
    cvmfs.block_in(tmp_path / "default.local", CHAIN).write()
    assert (tmp_path / "default.local").read_text() == f"CVMFS_NFILES=65536\n{block(CHAIN)}"


def test_lines_behind_the_block_stay_behind_it(tmp_path: Path) -> None:
    file = tmp_path / "default.local"
    file.write_text(f"A=1\n{block(CHAIN)}B=2\n")
    cvmfs.block_in(file, OTHER).write()
    assert file.read_text() == f"A=1\n{block(OTHER)}B=2\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{cvmfs.BLOCK_START}\nA=1\n",
        f"{cvmfs.BLOCK_END}\n",
        block(CHAIN) + block(CHAIN),
        f"{cvmfs.BLOCK_END}\n{cvmfs.BLOCK_START}\n",
    ],
)
def test_a_damaged_block_is_left_to_a_person(tmp_path: Path, text: str) -> None:
    file = tmp_path / "default.local"
    file.write_text(text)
    with pytest.raises(Unavailable, match="damaged block"):
        cvmfs.block_in(file, OTHER).write()
    assert file.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        'A="x\n',
        "cat <<E\n",
        "exit 0\n",
        f"{block(CHAIN)}CVMFS_HTTP_PROXY=http://later.test\n",
        "readonly CVMFS_HTTP_PROXY=x\n",
    ],
)
def test_a_file_in_which_the_block_would_have_no_effect_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "default.local"
    file.write_text(text)
    with pytest.raises(Unavailable, match=r"default\.local"):
        cvmfs.block_in(file, OTHER).write()
    assert file.read_text() == text


def test_the_block_is_nobodys_default_and_overrides_nothing(tmp_path: Path) -> None:
    (tmp_path / "default.local").write_text(THEIRS + block(OTHER))
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)).chain == ProxyList.parse(
        "http://site.test:3128;DIRECT"
    )
    (tmp_path / "default.local").write_text(block(OTHER))
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)).chain == ProxyList()
    assert administrator.overriding(tmp_path, tmp_path / "default.d" / "60-shoal.conf") == ()


def test_a_block_that_an_editor_gave_other_line_ends_is_still_ours(tmp_path: Path) -> None:
    file = tmp_path / "default.local"
    file.write_bytes((THEIRS + block(CHAIN)).replace("\n", "\r\n").encode())
    assert administrator.defaults(ClientSettings(cvmfs_directory=tmp_path)).chain == ProxyList.parse(
        "http://site.test:3128;DIRECT"
    )
    assert cvmfs.block_in(file, OTHER).write()
    assert file.read_bytes() == (THEIRS.replace("\n", "\r\n") + block(OTHER)).encode()


def test_what_overrides_a_domains_file_is_its_repositories_files(tmp_path: Path) -> None:
    for name in (
        "domain.d/cern.ch.conf",
        "domain.d/other.org.local",
        "config.d/a.cern.ch.conf",
        "config.d/a.other.org.conf",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("CVMFS_HTTP_PROXY=http://a.test:3128\n")
    ours = tmp_path / "domain.d" / "cern.ch.local"
    assert [path.name for path in administrator.overriding(tmp_path, ours)] == ["a.cern.ch.conf"]
    ours = tmp_path / "config.d" / "a.cern.ch.local"
    assert administrator.overriding(tmp_path, ours) == ()


_LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20), max_size=6)


@effort(max_examples=40)
@given(_LINES.map(lambda lines: "".join(f"#{line}\n" for line in lines)))
def test_comments_of_any_kind_survive(text: str) -> None:
    document = cvmfs.block_in(Path("/tmp/default.local"), CHAIN)
    if cvmfs.BLOCK_START in text or "\0" in text:
        return
    assert document.compose(os.fsencode(text)) == os.fsencode(text) + block(CHAIN).encode()
