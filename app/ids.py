"""Prefixed, sortable ids: `job_` and the 32 hex digits of a UUIDv7 (RFC 9562)."""

import os
import time

_last = 0


def new_id(prefix: str) -> str:
    """Ids made by one process rise strictly; across processes they sort by millisecond."""
    global _last  # the sequence is the one thing ids of a process share
    stamp = max(time.time_ns() * 4096 // 1_000_000, _last + 1)  # 48 bits ms, 12 bits fraction
    _last = stamp
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    return f"{prefix}_{value:032x}"
