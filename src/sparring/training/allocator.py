"""Makes the C library's allocator keep freed memory.

Training allocates the same large tensors again and again. By default glibc returns them to the system, which clears
fresh pages each time: 17 of the 64 ms that the logits of 524 tokens take at a vocabulary of 32,000.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MAX_KEPT = 2**30  # bytes; larger blocks are returned to the system as before


def keep_freed() -> bool:
    """Make this process keep freed memory; return whether it worked.

    It works with glibc, unless an environment variable `MALLOC_…` is set.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    options = ((_MMAP_THRESHOLD, _MAX_KEPT), (_TRIM_THRESHOLD, 2**31 - 1))
    return mallopt is not None and all(mallopt(option, value) == 1 for option, value in options)
