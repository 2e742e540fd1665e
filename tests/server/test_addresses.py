"""Which addresses squids have."""

import numpy as np

from shoal_server.addresses import Addresses, code

HELD = [f"192.0.{number // 250}.{number % 250}" for number in range(5000)]


def columns(*addresses: str | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([code(address) for address in addresses], np.int64)


def test_an_address_is_held_if_it_is_in_any_column() -> None:
    held = Addresses(columns("192.0.2.1", None), columns(None, "2001:db8::1"))
    assert "192.0.2.1" in held
    assert "2001:db8::1" in held
    assert "192.0.2.2" not in held


def test_of_thousands_all_are_held_and_no_others() -> None:
    held = Addresses(columns(*HELD))
    assert all(address in held for address in HELD)
    assert not any(f"198.51.{n // 250}.{n % 250}" in held for n in range(5000))


def test_no_squids_hold_no_address() -> None:
    assert "192.0.2.1" not in Addresses(columns())


def test_what_is_no_address_has_the_number_of_nobody() -> None:
    assert code(None) == code("") == 0
