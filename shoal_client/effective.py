"""What CVMFS makes of its configuration for one repository, and which file each value comes from.

The order is default.conf, default.d/*.conf, default.conf of the configuration repository, default.local,
then domain.d and config.d, each the configuration repository's first, .conf before .local
(cvmfs/options.cc); a later file wins, and sees what the earlier ones have set.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shoal_client import files, shell
from shoal_common.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter's value, and all files that set it; the last one wins."""

    text: str
    files: tuple[Path, ...]


@dataclass(slots=True)
class Configuration:
    """The parameters of one repository; `troubles` tells of files that could not be read."""

    values: dict[str, Value] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """The value, empty if nobody sets it."""
        return self.values[name].text if name in self.values else ""


def configuration(directory: Path, repository: str, mounts: Mapping[str, Path]) -> Configuration:
    """Read the files in `directory` as CVMFS does for `repository`; `mounts` tells what is mounted where.

    A configuration repository that is not mounted is not touched: that could take minutes.
    """
    result = Configuration()
    environ = {"PATH": os.environ.get("PATH", os.defpath), "CVMFS_FQRN": repository}
    for path in _files(directory, repository, result, mounts):
        try:
            known = {name: value.text for name, value in result.values.items()}
            content = files.read(path)
            found = shell.parameters(content, path.parent, environ | known) if content else {}
        except files.NotRegular:  # /dev/null masks a file
            continue
        except OSError as error:
            result.troubles.append(f"{path}: {error.strerror}")
        except Unavailable as error:
            result.troubles.append(f"{path} {error}")
        else:
            for name, text in found.items():
                earlier = result.values.get(name, Value("", ()))
                result.values[name] = Value(text, (*earlier.files, path))
    return result


def _files(
    directory: Path, repository: str, known: Configuration, mounts: Mapping[str, Path]
) -> Iterator[Path]:
    """In order; what the first files say of the configuration repository decides on the later ones."""
    yield directory / "default.conf"
    yield from (path for path in files.within(directory / "default.d") if path.suffix == ".conf")
    shared = mounts.get(known.text("CVMFS_CONFIG_REPOSITORY"))
    common = shared / "etc" / "cvmfs" if shared else None
    if common:
        yield common / "default.conf"
    yield directory / "default.local"
    for folder, name in (("domain.d", repository.partition(".")[2]), ("config.d", repository)):
        if common:
            yield common / folder / f"{name}.conf"
        yield directory / folder / f"{name}.conf"
        yield directory / folder / f"{name}.local"
