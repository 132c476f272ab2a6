"""Keep memory that a step frees for the next one: mapping it anew costs a page fault for every 4 KiB."""

from __future__ import annotations

import ctypes
import logging
import platform
import sys

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
"""Source: mallopt(3)."""
_MMAP_THRESHOLD_BYTES = 32 * 2**20
"""The largest that glibc takes on 64 bits. Source: DEFAULT_MMAP_THRESHOLD_MAX of glibc, mallopt(3)."""
_TRIM_THRESHOLD_BYTES = 2**31 - 1
"""mallopt takes an int."""
_TOP_PAD_BYTES = 16 * 2**20


def raise_thresholds() -> bool:
    """Raise the thresholds of this process; returns whether that could be done: glibc alone has them."""
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = [
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES),
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES),
        mallopt(_M_TOP_PAD, _TOP_PAD_BYTES),
    ]
    logger.debug("mallopt: %s", done)
    return all(done)
