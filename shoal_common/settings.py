"""Settings: one declaration each, read from flag, environment variable or INI file, in that order.

A program declares a frozen dataclass, a subclass of `Settings`, whose fields are made with `setting`.
From that declaration come the flags and their help, the `SHOAL_…` variables, the keys of the file,
and the sample file in `conf/`. Every mistake is found before anything runs, and all are told at once.
"""

import configparser
import dataclasses
import stat
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from shoal_common.errors import SettingsError
from shoal_common.hosts import redacted
from shoal_common.kinds import Kind

Values = dict[str, str]
"""What a file says: `section.key` to its text."""
_Placed = dict[str, tuple[str, str]]
"""What a file says by today's keys: `section.key` to the key that stands in the file, and its text."""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as declared: `name` is the field, `key` the key in the file's `section`.

    `was` lists the `section.key` spellings of older files.
    """

    name: str
    default: Any
    section: str
    key: str
    kind: Kind
    doc: str
    flags: tuple[str, ...]
    was: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        return "SHOAL_" + self.flags[-1].lstrip("-").replace("-", "_").upper()


def setting(
    section: str,
    default: Any,
    kind: Kind,
    doc: str,
    *,
    key: str = "",
    flags: Sequence[str] = (),
    was: Sequence[str] = (),
) -> Any:
    """Declare a field.

    Unless given, `key` is the field's name and `flags` is `--field-name`; the environment variable is
    named after the last flag.
    """
    described = {"section": section, "key": key, "kind": kind, "doc": doc, "flags": tuple(flags)}
    return dataclasses.field(default=default, metadata={**described, "was": tuple(was)})


class Settings:
    """Base of the declarations."""

    DEAD: ClassVar[Mapping[str, str]] = {}
    """Keys of older files that have no effect any more, each with the reason."""

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """The declared settings, in order."""
        return tuple(
            Option(
                name=field.name,
                default=field.default,
                section=field.metadata["section"],
                key=field.metadata["key"] or field.name,
                kind=field.metadata["kind"],
                doc=field.metadata["doc"],
                flags=field.metadata["flags"] or ("--" + field.name.replace("_", "-"),),
                was=field.metadata["was"],
            )
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        )

    @classmethod
    def compose(cls, values: Values) -> tuple[Values, list[str]]:
        """Replace keys of older files that have no single successor; returns the values and warnings."""
        return values, []


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """The settings, what the operator should change in the file, and the file that was read."""

    settings: S
    warnings: tuple[str, ...]
    path: Path | None


@dataclass(frozen=True, slots=True)
class Reading(Generic[S]):
    """What could be read, and all mistakes, unknown keys among them.

    `wrong` are the fields that have their defaults because of a mistake: all, if the file is unreadable.
    """

    loaded: Loaded[S]
    mistakes: Sequence[str]
    wrong: frozenset[str]

    def faultless(self) -> Loaded[S]:
        """What was read; raises SettingsError if there is any mistake."""
        if self.mistakes:
            raise SettingsError(self.mistakes)
        return self.loaded


def add_flags(parser: ArgumentParser, declared: type[Settings]) -> None:
    """A flag for every setting, with its meaning, allowed values and default."""
    group = parser.add_argument_group("settings")
    for option in declared.options():
        shown = option.kind.show(option.default) or "empty"
        group.add_argument(
            *option.flags,
            dest=option.name,
            action="append" if option.kind.many else "store",
            metavar=option.name.upper(),
            help=f"{option.doc} ({option.kind.allowed}; default {shown}; {option.variable})".replace(
                "%", "%%"
            ),
        )


def load(
    declared: type[S],
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    path: Path | None,
    usual: Sequence[Path],
) -> Loaded[S]:
    """Flags over environment over file over default.

    `path` is the file that the operator named and must exist; without one the first of `usual` that
    exists is read. Raises SettingsError with all mistakes, unknown keys among them.
    """
    return read(declared, flags=flags, environ=environ, path=path, usual=usual).faultless()


def read(
    declared: type[S],
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    path: Path | None,
    usual: Sequence[Path],
) -> Reading[S]:
    """The same, going on after a mistake."""
    mistakes: list[str] = []
    chosen = path or next((file for file in usual if _is_there(file)), None)
    try:
        values, warnings = _file_values(declared, chosen, mistakes) if chosen else ({}, [])
        wrong: set[str] = set()
    except SettingsError as error:
        mistakes += error.mistakes
        values, warnings, wrong = {}, [], {option.name for option in declared.options()}
    result: dict[str, Any] = {}
    for option in declared.options():
        for origin, text in _candidates(option, flags, environ, values, chosen):
            try:
                result[option.name] = option.kind.parse(text)
            except ValueError:
                wrong.add(option.name)
                mistakes.append(f"{origin}: {redacted(text)!r} will not do; it takes {option.kind.allowed}")
            break
    return Reading(Loaded(declared(**result), tuple(warnings), chosen), mistakes, frozenset(wrong))


def _is_there(file: Path) -> bool:
    """Also if that cannot be looked up: the attempt to read it says why."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _candidates(
    option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], values: _Placed, path: Path | None
) -> Iterator[tuple[str, str]]:
    flag = flags.get(option.name)
    if flag is not None:
        yield option.flags[-1], " ".join(flag) if isinstance(flag, list) else flag
    if environ.get(option.variable):  # compose files pass what is not set as an empty string
        yield option.variable, environ[option.variable]
    if option.path in values:
        written, text = values[option.path]
        yield f"{path}: {_place(written)}", text


def _file_values(declared: type[Settings], path: Path, mistakes: list[str]) -> tuple[_Placed, list[str]]:
    values, warnings = declared.compose(_read(path))
    successor = {old: option for option in declared.options() for old in option.was}
    known = {option.path for option in declared.options()}
    result: _Placed = {}
    for key, text in values.items():
        if key in known:
            result[key] = key, text
        elif key in successor:
            result.setdefault(successor[key].path, (key, text))
            warnings.append(f"{path}: {_place(key)} is now {_place(successor[key].path)}")
        elif key in declared.DEAD:
            warnings.append(f"{path}: {_place(key)} has no effect: {declared.DEAD[key]}")
        else:
            mistakes.append(f"{path}: {_place(key)} is unknown; {_allowed(key, known)}")
    return result, [
        warning if warning.startswith(str(path)) else f"{path}: {warning}" for warning in warnings
    ]


def _read(path: Path) -> Values:
    parser = configparser.ConfigParser(interpolation=None, default_section="", strict=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise SettingsError([f"{path}: {_unreadable(error)}"]) from None
    return {f"{section}.{key}": text for section in parser.sections() for key, text in parser.items(section)}


def _unreadable(error: Exception) -> str:
    """What is wrong with a file, without a word of what stands in it: that may be a password."""
    match error:
        case configparser.DuplicateOptionError() | configparser.DuplicateSectionError():
            name = f"[{error.section}] {getattr(error, 'option', '')}".rstrip()
            return f"line {error.lineno}: {name} stands there twice"
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno}: a [section] must come first"
        case configparser.ParsingError():
            lines = ", ".join(str(number) for number, _ in error.errors)
            return f"line {lines}: neither [section] nor key = value"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case OSError():
            return str(error.strerror)
    return type(error).__name__


def _place(key: str) -> str:
    section, _, name = key.partition(".")
    return f"[{section}] {name}"


def _allowed(key: str, known: set[str]) -> str:
    section = key.partition(".")[0]
    names = sorted(name.partition(".")[2] for name in known if name.partition(".")[0] == section)
    if names:
        return f"[{section}] takes {', '.join(names)}"
    return "the sections are " + ", ".join(sorted({f"[{name.partition('.')[0]}]" for name in known}))


def sample(declared: type[Settings], introduction: str) -> str:
    """The sample file: every key with its meaning, its allowed values and its default, ready to be read."""
    lines = _comment(introduction)
    section = ""
    for option in declared.options():
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"]
        lines += ["", *_comment(option.doc), *_comment(f"Takes {option.kind.allowed}.")]
        lines += _comment(f"Also {', '.join(option.flags)} and {option.variable}.")
        lines.append(f"{option.key} = {option.kind.show(option.default)}".rstrip())
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return ["# " + line for line in textwrap.wrap(text, 96)]
