"""The orders in which a plan's squids are told, as far as they were asked for.

A site's workers mostly have neighbouring addresses, which fall on neighbouring spots. So a block of these is
worked out at once when some of them have asked; where groups are large, that would cost no less.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal_server.plan import Plan
from shoal_server.rendezvous import SPOTS

BLOCK = 64
PATIENCE = 6
"""A block costs about as much as so many spots one by one."""
BLOCK_BYTES, SPOT_BYTES = 250, 190
"""What a block and a spot take besides their numbers."""


class Orders:
    """Those of the first `count`; `size` is what they take (bytes), about."""

    __slots__ = ("_asked", "_blocks", "_count", "_plan", "_spots", "size")

    def __init__(self, plan: Plan, count: int) -> None:
        self._plan = plan
        self._count = count
        self._asked = bytearray(SPOTS // BLOCK)
        """How often each block was asked for, as long as it is not worked out."""
        self._blocks: dict[int, npt.NDArray[np.unsignedinteger[Any]]] = {}
        self._spots: dict[int, array[int]] = {}
        self.size = 0

    def of(self, spot: int) -> Sequence[int]:
        """Who is told to the requesters of a spot, best first, by their positions in the plan."""
        if not self._plan.is_small:
            return self._spots.get(spot) or self._single(spot)
        block = self._blocks.get(spot // BLOCK)
        if block is None:
            if self._asked[spot // BLOCK] < PATIENCE:
                self._asked[spot // BLOCK] += 1
                return self._plan.told(spot, self._count)
            block = self._block(spot // BLOCK)
        order: list[int] = block[spot % BLOCK].tolist()
        return order

    def _single(self, spot: int) -> Sequence[int]:
        order = self._spots[spot] = array("i", self._plan.told(spot, self._count))
        self.size += SPOT_BYTES + order.itemsize * len(order)
        return order

    def _block(self, number: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        spots = np.arange(number * BLOCK, (number + 1) * BLOCK)
        told = self._plan.told_each(spots, self._count)
        block = self._blocks[number] = told.astype(np.min_scalar_type(len(self._plan.rows)))
        self.size += BLOCK_BYTES + block.nbytes
        return block
