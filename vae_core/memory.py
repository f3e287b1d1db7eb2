"""How a process that trains on CPUs holds its memory."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc allows
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell the C library to keep what is freed for what is allocated next; returns whether it does.

    A training step frees and allocates the same hundreds of megabytes each time. By default glibc hands large blocks
    back to the system, which must then zero every page again when it is next touched: 10 to 20% of a step. Kept, the
    process stays at its peak, where it would be anyway in the middle of the next step. For the whole process; other
    C libraries know no such setting, and are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no mallopt; on Windows, no library without a name
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
