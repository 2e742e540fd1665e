"""A real service as a child process: started, awaited, paused, killed and gone afterwards."""

import atexit
import os
import shutil
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

ROOT = Path(__file__).resolve().parent.parent
_SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/lib/rabbitmq/bin"))


class Missing(Exception):  # noqa: N818 - reads as "except Missing"
    """A program that a service needs is not on this machine."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(
            f"needs {program}, which is not installed; get it with: "
            f"apt-get install -y --no-install-recommends {package} (as root), or tools/install-services"
        )
        self.program = program
        self.package = package


class StartError(Exception):
    """A service ended, or stayed silent until its deadline, instead of becoming ready."""


def wait_until(condition: Callable[[], bool], within: float = 5.0, what: str = "condition") -> None:
    """Return as soon as `condition` holds.

    Raises:
        TimeoutError: it did not hold in `within` seconds; the text says `what` was awaited.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {within:g} s: {what}")
        time.sleep(0.01)


class Service(ABC):
    """One process in a session of its own, with its files and its output in one directory.

    A service keeps its ports and its directory over stop, kill and start. As a context manager it
    runs inside the block. It does not outlive this process: an orderly exit stops it, and so does a
    SIGKILL of this process if the service was started from the main thread.
    """

    program: ClassVar[str]
    package: ClassVar[str]
    ready_within: ClassVar[float] = 20.0
    ends_within: ClassVar[float] = 5.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / f"{type(self).__name__.lower()}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._awaited = False

    @classmethod
    def executable(cls) -> str:
        """Path of the program.

        Raises:
            Missing: it is not installed.
        """
        path = shutil.which(cls.program, path=_SEARCH_PATH)
        if path is None:
            raise Missing(cls.program, cls.package)
        return path

    @classmethod
    def available(cls) -> bool:
        """Whether the program is installed."""
        return shutil.which(cls.program, path=_SEARCH_PATH) is not None

    @abstractmethod
    def command(self) -> list[str]:
        """The argument list that runs the service in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves; asked again and again after the start."""

    def environment(self) -> dict[str, str]:
        """The environment of the process."""
        return dict(os.environ)

    def prepare(self) -> None:  # noqa: B027 - most services need one of the two only
        """Write what the service reads, before each start."""

    def tidy(self) -> None:  # noqa: B027
        """Remove what the service left outside its directory, after each end."""

    @property
    def running(self) -> bool:
        """Whether the process exists and has not ended (a paused one runs)."""
        return self._process is not None and not self._has_ended(self._process)

    @property
    def pid(self) -> int:
        """The process id; the process leads a group of the same number."""
        if self._process is None:
            raise ProcessLookupError(f"{type(self).__name__} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Run it, and return when it is ready; a service that already runs is left alone.

        Raises:
            Missing: its program is not installed.
            StartError: it did not become ready; the text ends with its last output.
        """
        if self.running and self._awaited:
            return self
        self.begin()
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise
        self._awaited = True
        return self

    def begin(self) -> None:
        """Run it and do not wait: `start`, which is to follow, does. Several can become ready side by side.

        Raises:
            Missing: its program is not installed.
        """
        if self.running:
            return
        self.kill()
        self.executable()
        self.directory.mkdir(parents=True, exist_ok=True)
        atexit.register(self.kill)
        try:
            self.prepare()
            self._spawn()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End it in good order (SIGTERM), by force if that takes too long."""
        if self._process is not None:
            process = self._process
            self.resume()
            self._signal(signal.SIGTERM, group=False)
            with suppress(TimeoutError):
                wait_until(lambda: self._has_ended(process), self.ends_within)
        self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL to the whole group), as a crash would."""
        atexit.unregister(self.kill)
        self._awaited = False
        if self._process is not None:
            group = self._process.pid
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            with suppress(TimeoutError):
                wait_until(lambda: not _lives(group), 2.0)
        self.tidy()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): it still takes connections and answers nothing, like a hung machine.

        Returns when each of its threads stands still: on a busy machine some could go on for a moment.
        """
        self._signal(signal.SIGSTOP)
        wait_until(lambda: _stands_still(self.pid), self.ends_within, f"{self.program} stopped")

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stop it and start it on the same ports and directory."""
        self.stop()
        return self.start()

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dies_with_this_process(), *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.directory,
                start_new_session=True,
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self.ready_within
        while True:
            if not self.running:
                raise StartError(f"{self.program} ended at its start:\n{self.tail()}")
            if self.is_ready():
                return
            if time.monotonic() >= deadline:
                raise StartError(f"{self.program} not ready in {self.ready_within:g} s:\n{self.tail()}")
            time.sleep(0.02)

    def _signal(self, number: signal.Signals, *, group: bool = True) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self._process.pid, number)

    @staticmethod
    def _has_ended(process: subprocess.Popen[bytes]) -> bool:
        # Looked at without reaping: as long as the zombie is there, nobody else can get its number.
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _dies_with_this_process() -> list[str]:
    # PR_SET_PDEATHSIG is sent when the *thread* that started the child ends: only the main thread
    # lasts as long as the process. setpriv sets it between fork and exec and keeps the pid.
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL", "--"]


def _lives(group: int) -> bool:
    # Not killpg(group, 0): orphans that init has not reaped yet would count.
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group = status.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped (proc(5): the state follows the name in parentheses)."""
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return False  # one of them ended while we looked
    return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)
