"""What the supervisor and a process that it starts tell each other: `go` once the stores are prepared, and `ready` in return.

A process does its imports before it waits for `go`, so that they run while the stores are prepared.
"""

from __future__ import annotations

import os
import sys

GO = "ROUTER_GO_FD"
READY = "ROUTER_READY_FD"


def await_go() -> None:
    """Wait until the supervisor has prepared the stores; exit where it gave up. A process that was started by hand does not wait."""
    descriptor = os.environ.pop(GO, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "rb", buffering=0) as pipe:
            if not pipe.read(1):
                sys.exit(1)


def say_ready() -> None:
    """Tell the supervisor, where there is one, that this process does its work now."""
    descriptor = os.environ.pop(READY, None)
    if descriptor is not None:
        os.write(int(descriptor), b"1")
        os.close(int(descriptor))
