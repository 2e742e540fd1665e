"""One line for syslog."""

import os
import socket
from pathlib import Path

from shoal_client import journal


def test_a_run_leaves_one_line_under_the_name_that_released_clients_use(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(5)
        assert journal.send("shoal-client", "cvmfs changed: http://192.0.2.1:3128", path)
        assert daemon.recv(4096).decode() == (
            f"<13>shoal-client[{os.getpid()}]: cvmfs changed: http://192.0.2.1:3128"
        )


def test_nobody_who_listens_is_no_fault(tmp_path: Path) -> None:
    assert not journal.send("shoal-client", "text", tmp_path / "away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(str(tmp_path / "stream"))
        assert not journal.send("shoal-client", "text", tmp_path / "stream")
