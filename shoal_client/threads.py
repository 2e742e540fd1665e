"""Starts a thread that ends with the process, however long it hangs."""

from collections.abc import Callable
from threading import Thread

from shoal_common.errors import Unavailable


def start(work: Callable[[], None]) -> None:
    """Do `work` in a thread; raises Unavailable where a limit of the user or the container allows none."""
    try:
        Thread(target=work, daemon=True).start()
    except RuntimeError as error:
        raise Unavailable(f"no thread can be started (ulimit -u, pids.max): {error}") from None
