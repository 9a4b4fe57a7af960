"""Names for the arrays that the code passes around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: Row numbers: half the memory of 64 bits.
Rows = NDArray[np.int32]
Words = NDArray[np.uint64]
Keys = NDArray[np.uint32]
#: The index of each row's split, or SET_ASIDE.
Assigned = NDArray[np.int8]
