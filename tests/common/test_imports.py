"""Importing a module does nothing: no file, no socket, no process, no thread, no signal handler, no clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("shoal_common", "shoal_server", "shoal_agent", "shoal_client")

# Everything is imported twice: what third parties do at their import (urllib3 opens a socket) is done the
# first time, so the second time shows what the modules of this project do. Audit hooks see what is opened
# whichever way; a handler for a signal and a look at the clock raise no event and are compared or counted.
CHILD = """
import importlib, json, logging, os, pkgutil, signal, sys, threading, time

def modules(packages):
    for package in packages:
        yield package
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
            if not found.name.endswith("__main__"):
                yield found.name

def state():
    handlers = {number: repr(signal.getsignal(number)) for number in signal.valid_signals()}
    root = logging.getLogger()
    logs = root.level, len(root.handlers)
    return handlers, threading.active_count(), dict(os.environ), os.getcwd(), list(sys.path), logs

def difference(before, after):
    return f"the process was changed: {[pair for pair in zip(before, after) if pair[0] != pair[1]]}"

done, current = [], [""]
first = state()
names = list(modules(sys.argv[1:]))
for name in names:
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] in sys.argv[1:]]:
    del sys.modules[name]

SEEN = ("open", "os.system", "os.fork", "os.posix_", "os.mkdir", "os.re", "socket.", "subprocess.")

def watch(event, args):
    if not current[0]:
        return
    if event == "open" and str(args[0]).endswith((".py", ".pyc")) and not args[1:2] == ("w",):
        return
    if event.startswith(SEEN):
        done.append(f"{current[0]}: {event} {args!r}")

def counted(clock):
    def now():
        if sys._getframe(1).f_globals.get("__name__", "").startswith("shoal_"):
            done.append(f"{current[0]}: time.{clock.__name__}()")
        return clock()
    return now

for clock in (time.time, time.monotonic, time.perf_counter):
    setattr(time, clock.__name__, counted(clock))
before = state()
if before != first:
    done.append(difference(first, before))
sys.addaudithook(watch)
for name in names:
    current[0] = name
    importlib.import_module(name)
    if (after := state()) != before:
        done.append(f"{name}: {difference(before, after)}")
        before = after
current[0] = ""
print(json.dumps({"names": names, "done": done}))
"""


def imported(*packages: str, path: str = "") -> tuple[list[str], list[str]]:
    """The modules that a process of its own imported, and what they did at it."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"} | ({"PYTHONPATH": path} if path else {})
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *packages],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environ,
    )
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout)
    return told["names"], told["done"]


def test_importing_any_module_does_nothing() -> None:
    names, done = imported(*PACKAGES)
    assert set(PACKAGES) < set(names)
    assert done == []


@pytest.mark.parametrize(
    "line",
    [
        "open('written', 'w').close()",
        "open('/etc/passwd').close()",
        "import socket; socket.socket().close()",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import subprocess; subprocess.run(['true'])",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import signal; signal.signal(signal.SIGTERM, lambda *_: None)",
        "import time; time.time()",
        "import logging; logging.basicConfig()",
        "import os; os.environ['X'] = '1'",
    ],
)
def test_a_module_that_does_something_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "shoal_example"
    package.mkdir()
    (package / "__init__.py").write_text(line + "\n")
    _, done = imported("shoal_example", path=str(tmp_path))
    assert done
