"""What of a squid's row passes: its load, and what depends on its age. Worked out for many squids at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_server.balance import MOST_UTILISATION
from shoal_server.crowding import WINDOW
from shoal_server.packed import Packed, numbers
from shoal_server.ranking import weight


def passing(rows: Sequence[Packed]) -> Mapping[str, npt.NDArray[Any]]:
    """The columns PASSING of some squids.

    `load` is what one sends (kB/s), or would if the scarcest of its resources were its interface.
    """
    said, max_load = numbers(rows), np.array([one.max_load for one in rows])
    with np.errstate(over="ignore"):  # a squid may call next to nothing its max_load
        utilisation = np.maximum(said["load"] / max_load, said["pressure"])
    age = said["seen"] - said["created"]
    return {
        "load": np.minimum(utilisation, MOST_UTILISATION) * max_load,
        "takes": said["takes"],
        "known_long": age > WINDOW,
        "weight": weight(max_load, age),
        "share": said["share"],
    }
