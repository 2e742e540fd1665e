"""A worker node in a temporary directory, and a server for it to ask."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from shoal_client import choice
from shoal_client.actions import Actions, ExitCode
from shoal_client.client import Streams, run
from shoal_client.settings import ClientSettings
from testbed.cvmfs_talk import CvmfsTalk
from tests.client import parts

# A busy machine must not fail a rule.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


@dataclass
class Worker:
    """The files of one worker node, and its settings; `run` does a run of the client in this process."""

    root: Path
    settings: ClientSettings
    talk: CvmfsTalk
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin"})
    printed: str = ""
    explained: str = ""
    summary: str = ""

    @property
    def config(self) -> Path:
        return self.settings.cvmfs_config

    @property
    def value(self) -> str:
        """The chain in the client's file."""
        return self.config.read_text().partition('CVMFS_HTTP_PROXY="')[2].partition('"')[0]

    @property
    def local(self) -> Path:
        return self.settings.cvmfs_directory / "default.local"

    def set(self, **settings: Any) -> None:
        self.settings = replace(self.settings, **settings)

    def mount(self, repository: str, proxies: str = "DIRECT", **chains: str) -> None:
        self.talk.mount(repository, proxies, **chains)
        with self.settings.mounts.open("a") as table:
            table.write(f"cvmfs2 /cvmfs/{repository} fuse ro,nosuid,nodev 0 0\n")

    def run(self, **actions: bool) -> ExitCode:
        out, explained = io.StringIO(), io.StringIO()
        done = run(self.settings, Actions(**actions), self.environ, Streams(out, explained))
        self.printed, self.explained, self.summary = out.getvalue(), explained.getvalue(), done.summary
        return done.code

    def flags(self) -> list[str]:
        """The settings as the command line takes them."""
        return [
            word
            for option in ClientSettings.options()
            for word in (option.flags[-1], option.kind.show(getattr(self.settings, option.name)))
        ]


@pytest.fixture
def directory() -> Iterator[parts.Directory]:
    with parts.directory() as server:
        yield server


@pytest.fixture
def worker(tmp_path: Path, directory: parts.Directory, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Time decides nothing in its runs: a busy machine must not change what a test sees."""
    monkeypatch.setattr(choice, "SLUGGISH_SECONDS", 60.0)
    talk = CvmfsTalk(tmp_path / "bin")
    cvmfs = tmp_path / "cvmfs"
    (cvmfs / "default.d").mkdir(parents=True)
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw,nosuid 0 0\ncvmfs2 /not-here xfs rw 0 0\n")
    settings = ClientSettings(
        servers=(directory.url,),
        server_deadline=20.0,
        probe_deadline=20.0,
        grace=10.0,
        lan_wait=0.0,
        state_dir=tmp_path / "state",
        cvmfs_config=cvmfs / "default.d" / "60-shoal.conf",
        cvmfs_directory=cvmfs,
        probe_urls=(parts.URL,),
        cvmfs_talk=str(talk.path),
        mounts=mounts,
        syslog=False,
    )
    return Worker(tmp_path, settings, talk)
