"""A stand-in for CVMFS's cvmfs_talk, for machines without CVMFS."""

import fcntl
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("talk_program.py")


class CvmfsTalk:
    """An executable `cvmfs_talk` in `directory`, which can be put in front of PATH, and its mounts.

    What is mounted and which chains are in force is kept in `cvmfs_talk.json` beside it, over the runs
    of the program. `listed` is CVMFS_REPOSITORIES, what the program loops over without -i. `hosts` are
    the names that resolve; others show as `:unresolved:`. `auto` is the chain that proxy discovery
    finds; with the default "" it finds none and `proxy set auto` fails.
    """

    def __init__(
        self,
        directory: Path,
        *,
        listed: str = "",
        hosts: Mapping[str, str] | None = None,
        auto: str = "",
        default_domain: str = "cern.ch",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "cvmfs_talk"
        self.path.write_text(f"#!{sys.executable} -I\n{_PROGRAM.read_text()}")
        self.path.chmod(0o755)
        self._state_file = directory / "cvmfs_talk.json"
        self._write(
            {
                "cvmfs_repositories": listed,
                "default_domain": default_domain,
                "auto": auto,
                "hosts": dict(hosts or {}),
                "mounted": {},
                "calls": [],
            }
        )

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every run so far."""
        calls: list[list[str]] = self._read()["calls"]
        return calls

    def mount(
        self, fqrn: str, proxies: str = "DIRECT", *, fallback: str = "", external: str = "DIRECT"
    ) -> None:
        """Mount a repository (again) with these chains, as its configuration would have it."""
        state = self._read()
        state["mounted"][fqrn] = {"proxies": proxies, "fallback": fallback, "external": external}
        self._write(state)

    def unmount(self, fqrn: str) -> None:
        """Unmount a repository; what was set by talk is lost."""
        state = self._read()
        del state["mounted"][fqrn]
        self._write(state)

    def list_repositories(self, listed: str) -> None:
        """Set CVMFS_REPOSITORIES (names joined by commas)."""
        self._write(self._read() | {"cvmfs_repositories": listed})

    def proxies(self, fqrn: str) -> str:
        """The proxy chain in force, as it arrived."""
        return self._chain(fqrn, "proxies")

    def fallback(self, fqrn: str) -> str:
        """The fallback chain in force, as it arrived."""
        return self._chain(fqrn, "fallback")

    def external(self, fqrn: str) -> str:
        """The chain for external data in force, as it arrived."""
        return self._chain(fqrn, "external")

    def _chain(self, fqrn: str, kind: str) -> str:
        chain: str = self._read()["mounted"][fqrn][kind]
        return chain

    def _read(self) -> dict[str, Any]:
        with self._state_file.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            state: dict[str, Any] = json.load(file)
        return state

    def _write(self, state: dict[str, Any]) -> None:
        with self._state_file.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(json.dumps(state, indent=1))
