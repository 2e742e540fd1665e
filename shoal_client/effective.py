"""What CVMFS makes of its configuration for one repository, and which file each value comes from.

The order is default.conf, default.d/*.conf, default.conf of the configuration repository, default.local,
then domain.d and config.d, each the configuration repository's first, .conf before .local
(cvmfs/options.cc); a later file wins, and sees what the earlier ones have set.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shoal_client import cvmfs, files, shell
from shoal_client.shell import NotEvaluated
from shoal_common.errors import Unavailable

SPECIFIC = ("domain.d", "config.d")
"""Where the files for some repositories are; all others are for every one."""


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter's value, and all files that set it; the last one wins."""

    text: str
    files: tuple[Path, ...]


@dataclass(slots=True)
class Configuration:
    """The parameters of one repository.

    `troubles` tells of files of which CVMFS gets nothing, `unknown` of those that it may well read though
    we could not.
    """

    values: dict[str, Value] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """The value, empty if nobody sets it."""
        return self.values[name].text if name in self.values else ""


@dataclass(frozen=True, slots=True)
class View:
    """The files as they are; or with other content in place of some, or without all that is ours.

    `general` are parameters that the files for all repositories are taken to set, whatever they do.
    """

    instead: Mapping[Path, bytes] = field(default_factory=dict)
    theirs_alone: bool = False
    general: Mapping[str, str] = field(default_factory=dict)

    def read(self, path: Path) -> bytes:
        """Empty for a file that is not there; raises OSError."""
        if path in self.instead:
            return self.instead[path]
        content = files.read(path) or b""
        return cvmfs.theirs(content) if self.theirs_alone else content

    def within(self, directory: Path) -> list[Path]:
        """By name."""
        more = {path for path in self.instead if path.parent == directory}
        return sorted(more.union(files.within(directory)))


AS_IT_IS = View()


def configuration(
    directory: Path, repository: str, mounts: Mapping[str, Path], view: View = AS_IT_IS
) -> Configuration:
    """Read the files in `directory` as CVMFS does for `repository`; `mounts` tells what is mounted where.

    A configuration repository that is not in `mounts` is not touched: that could take minutes.
    """
    result = Configuration()
    environ = {"PATH": os.environ.get("PATH", os.defpath), "CVMFS_FQRN": repository}
    general = {name: Value(text, (directory / "default.local",)) for name, text in view.general.items()}
    for path in _files(directory, repository, result, mounts, view):
        if path.parent.name in SPECIFIC:
            result.values.update(general)
            general = {}
        try:
            known = {name: value.text for name, value in result.values.items()}
            content = view.read(path)
            found = shell.parameters(content, path.parent, environ | known) if content else {}
        except files.NotRegular:  # /dev/null masks a file
            continue
        except OSError as error:
            result.unknown.append(f"{path}: {error.strerror}")
        except NotEvaluated as error:
            result.unknown.append(f"{path} {error}")
        except Unavailable as error:
            result.troubles.append(f"{path} {error}")
        else:
            for name, text in found.items():
                earlier = result.values[name].files if name in result.values else ()
                result.values[name] = Value(text, (*earlier, path))
    return result


def _files(
    directory: Path, repository: str, known: Configuration, mounts: Mapping[str, Path], view: View
) -> Iterator[Path]:
    """In order; what the first files say of the configuration repository decides on the later ones."""
    yield directory / "default.conf"
    yield from (path for path in view.within(directory / "default.d") if path.suffix == ".conf")
    shared = mounts.get(known.text("CVMFS_CONFIG_REPOSITORY"))
    common = shared / "etc" / "cvmfs" if shared else None
    if common:
        yield common / "default.conf"
    yield directory / "default.local"
    for folder, name in zip(SPECIFIC, (repository.partition(".")[2], repository), strict=True):
        if common:
            yield common / folder / f"{name}.conf"
        yield directory / folder / f"{name}.conf"
        yield directory / folder / f"{name}.local"
