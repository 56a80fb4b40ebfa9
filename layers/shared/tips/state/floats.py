"""Arrays of float64 as bytes, little-endian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_FLOAT64 = np.dtype("<f8")


def pack_floats(values: NDArray[np.float64]) -> bytes:
    return values.astype(_FLOAT64, copy=False).tobytes()


def unpack_floats(data: bytes) -> NDArray[np.float64]:
    """Return the floats; not to be written to."""
    return np.frombuffer(data, dtype=_FLOAT64).astype(np.float64, copy=False)
