"""A file that the client writes: wholly its own, or a part of somebody else's."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shoal_client import files
from shoal_common.errors import Unavailable

MARK = b"Written by shoal-client"
NOTICE = f"{MARK.decode()}, which replaces this file: changes belong into shoal_client.conf."
_MARKED_WITHIN = 1024

Compose = Callable[[bytes | None], bytes]


@dataclass(frozen=True, slots=True)
class Document:
    """One output: `compose` makes the new content from the old (None: no file), or raises Unavailable.

    `mark` is in the file once the client has written it.
    """

    path: Path
    compose: Compose
    mark: bytes = MARK

    @property
    def written(self) -> bool:
        """Whether an earlier run has written it."""
        try:
            return self.mark in (files.read(self.path) or b"")
        except OSError:  # the attempt to write it will say why
            return False

    def change(self) -> tuple[bytes | None, bytes]:
        """The old and the new content. Raises Unavailable if it cannot be read, or must not be changed."""
        try:
            before = files.read(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from None
        try:
            return before, self.compose(before)
        except Unavailable as error:
            raise Unavailable(f"{self.path} {error}") from None

    def write(self) -> bool:
        """Whether the file had to be changed. Raises Unavailable, and then nothing has changed."""
        before, after = self.change()
        if before == after:
            return False
        try:
            if files.read(self.path) != before:
                raise Unavailable(f"{self.path} was changed by somebody else meanwhile and is left as it is")
            files.replace(self.path, after)
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be written: {error.strerror}") from None
        return True

    def diff(self) -> str:
        """What `write` would change, as a unified diff; empty: nothing. Raises Unavailable.

        Its bytes are those of the file on an output in the encoding of file names.
        """
        import difflib  # noqa: PLC0415 - runs that write have no use for it

        before, after = self.change()
        old, new = (os.fsdecode(text or b"").splitlines(keepends=True) for text in (before, after))
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in difflib.unified_diff(old, new, str(self.path), str(self.path))
        )


def left(path: Path, why: str) -> Document:
    """A file for which nothing could be composed."""

    def compose(before: bytes | None) -> bytes:
        del before
        raise Unavailable(f"stays as it is: {why}")

    return Document(path, compose)


def is_ours(content: bytes) -> bool:
    """Whether the client has written the whole of it; where the mark stands depends on the format."""
    return MARK in content[:_MARKED_WITHIN]


def own(path: Path, content: bytes) -> Document:
    """A file that belongs to the client alone; one that it has not written itself is left as it is."""

    def compose(before: bytes | None) -> bytes:
        if before and not is_ours(before):
            raise Unavailable("was not written by shoal-client and is left as it is")
        return content

    return Document(path, compose)
