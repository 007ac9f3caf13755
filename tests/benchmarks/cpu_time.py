"""Limits on processor time that are held when costs are measured, and by no ordinary run of the tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

MEASURED = os.environ.get("MEASURE_CPU") == "1"
"""Set by `make bench` and the fuzzer. Elsewhere neighbours on the machine would fail a test that finds nothing wrong."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if what is inside took more of the processor's time, in this process, than `seconds`."""
    begun = time.process_time()
    yield
    spent = time.process_time() - begun
    assert spent < seconds or not MEASURED, f"took {spent:.2f} s of CPU time, at most {seconds} s are allowed"
