"""What an assessment costs: time by length, in a growing conversation, on hostile texts; memory and start."""

from __future__ import annotations

import base64
import gzip
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from classifiers.assess import Assessor
from classifiers.evaluation.marks import Mark, at_most
from classifiers.sensitivity.engine import Detector
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task

_LENGTHS = ((200, 0.12, 300), (2_000, 0.7, 200), (8_000, 3.0, 60), (128_000, 100.0, 11))  # characters, ms, texts
_TURNS, _GROWTH = 200, 12
_MEGABYTE = 1_000_000


def costs(policy: SensitivityPolicy, key: bytes, prose: Sequence[str]) -> list[Mark]:
    """The marks on cost, on one core. `prose` are ordinary texts, from which texts of each length are put together."""
    if not prose:
        return []
    assessor, detector = Assessor(policy, key), Detector(policy, key)
    return [*_latency(assessor, detector, prose), *_growing(assessor, detector, prose), *_hostile(assessor), *_process()]


def _latency(assessor: Assessor, detector: Detector, prose: Sequence[str]) -> Iterator[Mark]:
    supply = _Prose(prose)
    for length, bound, n in _LENGTHS:
        tasks = [_task(supply.text(length)) for _ in range(n + 3)]  # all different: nothing is known from before
        times = [_seconds(assessor.assess, task, ()) for task in tasks][3:]
        yield at_most(f"latency p50 at {length} characters, ms", statistics.median(times) * 1e3, _middle(times), n, bound)
    parts = [_task(supply.text(2_000)).parts for _ in range(400)]
    times = [_seconds(detector.scan, given) for given in parts]
    yield at_most("latency p99 at 2000 characters, detectors alone, ms", float(np.quantile(times, 0.99)) * 1e3, None, 400, 2.0)


def _growing(assessor: Assessor, detector: Detector, prose: Sequence[str]) -> Iterator[Mark]:
    """Microseconds that each unchanged part adds to a conversation of some hundred that has grown by one turn."""
    supply = _Prose(prose)
    ways: tuple[tuple[str, Callable[[Task], object]], ...] = (
        ("detectors alone", lambda task: detector.scan(task.parts)),
        ("whole assessment", lambda task: assessor.assess(task, ())),
    )
    for name, assess in ways:
        added = []
        for _ in range(5):
            texts = [supply.text(300) for _ in range(_TURNS + _GROWTH)]
            assess(_task(*texts[:_TURNS]))
            for turns in range(_TURNS, _TURNS + _GROWTH):
                grown = _seconds(assess, _task(*texts[: turns + 1]))
                alone = _seconds(assess, _task(supply.text(300)))
                added.append((grown - alone) / turns)
        value = statistics.median(added) * 1e6
        yield at_most(f"growing conversation, {name}: us per unchanged part", value, _middle(added, 1e6), len(added), 2.0)


_REPEATED = (
    "a", "1", "@", "a@", "4539", "1 ", "1-", "1.", "12 ", "123 ", "1234 ", "123-45-6789 ", "0", "a.", "a@b.c ", "a@b.xx ", "+1 ", "(1", "-----BEGIN PRIVATE KEY-----",
    "password=", "password: ", "pass", "login to a ", "eyJ", "eyJ.", "A%41", "%41", "%", "\u200b", "é", "\u202e", "&#49;", "&#4", "\\u0031", "://", "a://b:", "key ",
    "key=", "key: a", "token=" + "aB3" * 6 + " ", "\x00", "\ud800", "\n", "1\n", "1 a\n", "a1\n", "[[", "{\"a\":", "<", "one two ", "one ", "**", "1**", "\u0661", "\uff11 ",
    "\u0430a", "date of birth ", "12/04/1987 ", "patient id 1", "passport A1", "AB12 ", "DE12 5001 ", "1.2.3.4 ", "10.0.0.1 ", "server=a;", "curl -u a", "$1$", "sk-",
    "AKIA", "Basic ", "bearer ", "1 Main Street ", "My name is A ", "\u2013", "1\u20132", "ssn 1", "card 4", "=", "/", "_", "-", "0x", "ab", "AB", "aB", "a1", "LS0tLS1CRUdJTi",
)  # fmt: skip


def hostile() -> dict[str, Callable[[], str]]:
    """What makes a megabyte of each kind of repetition, nesting and decoding bait, by name."""
    return {ascii(piece)[1:25]: partial(_filled, piece) for piece in _REPEATED} | {
        "nested base64": _nested,
        "gzip bombs": lambda: "\n".join([base64.b64encode(gzip.compress(b"0" * 4_000_000, mtime=0)).decode()] * 180),
        "brackets": lambda: "(" * (_MEGABYTE // 2) + ")" * (_MEGABYTE // 2),
    }


def _filled(piece: str) -> str:
    return piece * (_MEGABYTE // len(piece.encode("utf-8", "replace")))


def _nested() -> str:
    data = b"nothing to see here, really nothing at all. "
    for _ in range(12):
        data = base64.b64encode(data)
    return _filled(data.decode())


def _hostile(assessor: Assessor) -> Iterator[Mark]:
    times = {name: _seconds(assessor.assess, _task(text()), ()) for name, text in hostile().items()}
    slowest = max(times, key=lambda name: times[name])
    yield at_most(f"hostile megabyte, slowest ({slowest}), s", times[slowest], None, len(times), 1.0)


_MEASURED = """
import resource, time
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20
def share(process):
    with open(f"/proc/{process}/smaps_rollup") as sizes:
        return sum(int(line.split()[1]) for line in sizes if line.startswith("Pss:")) / 2**10
base, began = resident(), time.perf_counter()
from classifiers import apart
from classifiers.assess import Assessor
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
def task(text):
    return Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, text, "text", 0),))
apart.prepare()
assessor = Assessor(SensitivityPolicy(), b"key")
assessor.assess(task("hello"), ())
started = time.perf_counter() - began
long = task("mail anna@kundenwerk.de " * 5000)
assessor.assess(long, ())
other = apart.Apart.running()
other.wait()
other.assess(SensitivityPolicy(), b"key", long, ())
print(base, share("self") + share(other.process_id), started)
"""


def _process() -> Iterator[Mark]:
    """Memory of a fresh process and of the one for long texts that it forks (pages of both counted once), and its start."""
    if not sys.platform.startswith("linux"):
        return
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the service starts its workers
    runs = [
        [float(word) for word in subprocess.check_output([sys.executable, "-c", _MEASURED], env=environment).split()]  # noqa: S603
        for _ in range(3)
    ]
    base, after = statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs)
    yield at_most("memory of two processes over one bare process, MiB", after - base, None, len(runs), 120.0)
    yield at_most("start, s", min(run[2] for run in runs), None, len(runs), 1.0)


class _Prose:
    """Deals out texts of any length, no two alike."""

    def __init__(self, prose: Sequence[str]) -> None:
        self._rng = np.random.default_rng(0)
        self._prose = prose

    def text(self, length: int) -> str:
        pieces: list[str] = []
        missing = length
        while missing > 0:
            piece = self._prose[int(self._rng.integers(len(self._prose)))]
            pieces.append(piece)
            missing -= len(piece) + 1
        return "\n".join(pieces)[:length]


def _task(*texts: str) -> Task:
    parts = []
    for turn, text in enumerate(texts):
        role, provenance = ((Role.USER, Provenance.USER), (Role.ASSISTANT, Provenance.MODEL))[turn % 2]
        parts.append(Part(role, provenance, text, f"messages[{turn}]", turn))
    return Task(Endpoint.CHAT, "auto", tuple(parts))


def _seconds(work: Callable[..., object], *given: object) -> float:
    """How long the thread worked: its own time, so that what else runs on the machine distorts it less."""
    began = time.thread_time()
    work(*given)
    return time.thread_time() - began


def _middle(times: Sequence[float], unit: float = 1e3) -> tuple[float, float]:
    """A 95 % interval of the median, by order statistics."""
    ranked = sorted(times)
    half = 0.98 * math.sqrt(len(ranked))
    low, high = max(round(len(ranked) / 2 - half) - 1, 0), min(round(len(ranked) / 2 + half), len(ranked) - 1)
    return ranked[low] * unit, ranked[high] * unit
