"""The shell's grammar: what may be written for it, and what it makes of a file that CVMFS reads.

CVMFS feeds a file's lines to a fresh /bin/sh, in the file's directory, with all parameters so far in the
environment, and takes for each `NAME=` in the file one line of `echo $NAME` (cvmfs/options.cc).
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shoal_common.errors import InvalidProxyList, Unavailable

SECONDS = 5.0
_INERT = re.compile(r"[A-Za-z0-9.:/|;_\-~%@\[\]()=,?&+]+")
_NAME = re.compile(rb"^[ \t]*(?:(?:readonly|export|eval)[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=", re.MULTILINE)
_END = "shoal-client reads from here"


class NotEvaluated(Unavailable):
    """The shell could not be run, or took too long: what it would make of the text is not known."""


def quoted(value: str) -> str:
    """`value` in double quotes, if it is inert there; raises InvalidProxyList."""
    if not _INERT.fullmatch(value):
        raise InvalidProxyList(f"{value!r} is nothing that a shell may read")
    return f'"{value}"'


def parameters(text: bytes, directory: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What the parameters that `text` sets are to CVMFS.

    Raises Unavailable if it does not run to its end, which leaves CVMFS none of them, and NotEvaluated.
    """
    names = list(dict.fromkeys(name.decode() for name in _NAME.findall(text)))
    echoes = "\n".join([f"echo {_END}", *(f"echo ${name}" for name in names), ""])
    try:
        printed = _printed(text + b"\n" + echoes.encode("ascii"), directory, environ)
    except subprocess.TimeoutExpired:
        raise NotEvaluated(f"does not end within {SECONDS:g} s in a shell") from None
    except OSError as error:
        raise NotEvaluated(f"cannot be read by a shell: {error.strerror}") from None
    lines = os.fsdecode(printed).split("\n")
    if _END not in lines:
        raise Unavailable("is nothing that a shell reads to its end")
    values = lines[len(lines) - lines[::-1].index(_END) :]
    return dict(zip(names, values, strict=False))


def _printed(script: bytes, directory: Path, environ: Mapping[str, str]) -> bytes:
    """What a shell prints; one that is not waited for any longer ends with all that it has started."""
    with subprocess.Popen(
        ["/bin/sh"],
        cwd=directory,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as sh:
        try:
            return sh.communicate(script, timeout=SECONDS)[0]
        finally:
            if sh.returncode is None:
                os.killpg(sh.pid, signal.SIGKILL)
