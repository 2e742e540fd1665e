"""The doors themselves: a guest who comes while his door is shut is cut off, and nothing is left open."""

import gc
import socket
from contextlib import suppress

from testbed.ports import free_port
from tests.faults.relay import Relay


def test_who_comes_while_the_door_is_shut_is_cut_off() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as service,
        Relay(service.getsockname()) as relay,
    ):
        place = ("127.0.0.1", free_port())
        for _ in range(150):
            relay.open([place])
            with socket.create_connection(place, timeout=5.0) as guest:
                relay.shut([place])
                with suppress(ConnectionResetError):
                    assert guest.recv(1) == b""
    gc.collect()  # what was left open would complain
