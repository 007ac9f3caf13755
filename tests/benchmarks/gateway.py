"""`make bench`: CPU per request, throughput, start and memory of the router, beside a pass-through floor, in one run.

The worker (and the floor) have core 0 to themselves; stub, load, Redis and drainer share core 1. A run of the router counts only
if the outbox is empty ten seconds after the load, ledger and evidence counts equal the requests, and a sample of recorded decisions
comes out the same again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil
from sqlalchemy import create_engine, text

from router.exchange import Admitted, Record
from routing_rules.decide import decide
from routing_rules.load import load
from tests.support.running import Running, free_port, running, wait_for

SECONDS = float(os.environ.get("BENCH_SECONDS", "6"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
CONNECTIONS = 32
WORKER_CORE, OTHER_CORE = 0, min(1, (os.cpu_count() or 1) - 1)
DRAIN_SECONDS = 10.0

BARS = {
    "router json": {"cpu_ms": 0.9, "per_second": 1000.0},
    "router stream": {"per_second": 700.0},
    "start": {"ready_seconds": 3.0},
    "memory": {"worker_mib": 250.0},
}

MODELS = """
deployments:
  - id: bench
    provider: openai_compatible
    model: bench
    base_url: http://127.0.0.1:{port}/v1
    api_key: env:BENCH_KEY
    tier: fast
    clearance: restricted
    price: {{input_usd_per_million: 0.15, cached_input_usd_per_million: 0.075, output_usd_per_million: 0.60}}
  - id: bench-reasoning
    provider: openai_compatible
    model: bench
    base_url: http://127.0.0.1:{port}/v1
    api_key: env:BENCH_KEY
    tier: reasoning
    clearance: restricted
    price: {{input_usd_per_million: 1.5, cached_input_usd_per_million: 0.75, output_usd_per_million: 6.0}}
"""


def pin(pid: int, core: int) -> None:
    """Keep a process and its threads on one core."""
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {core})


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def spawn(arguments: list[str], core: int, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process on one core."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", *arguments]
    return subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE)


def load_once(port: int, key: str, stream: bool, connections: int = CONNECTIONS, seconds: float = SECONDS) -> dict[str, float]:
    """One load; what the load generator tells."""
    arguments = [
        "tests.benchmarks.load",
        "--port",
        str(port),
        "--key",
        key,
        "--connections",
        str(connections),
        "--seconds",
        str(seconds),
    ]
    done = spawn(arguments + (["--stream"] if stream else []), OTHER_CORE)
    output, _ = done.communicate(timeout=seconds + 60)
    return dict(msgspec.json.decode(output))


def far_memory_ns() -> float:
    """What a step through 4 MiB costs beyond one through 16 KiB, ns: the state of the cache that all programs of a machine share.

    Those of neighbours on the same processor push ours out. It goes from under 20 to over 100 within seconds, and what a request of
    the router costs goes with it by half, while the small pass-through does not notice.
    """
    steps = 100_000
    costs = []
    for items in (1 << 11, 1 << 19):
        order = list(range(items))
        random.Random(items).shuffle(order)
        walk = array("q", bytes(8 * items))
        for here, there in zip(order, order[1:] + order[:1], strict=True):
            walk[here] = there
        place = 0
        began = time.perf_counter()
        for _ in range(steps):
            place = walk[place]
        costs.append((time.perf_counter() - began) / steps * 1e9)
    return max(costs[1] - costs[0], 0.0)


def measured(port: int, key: str, stream: bool, workers: list[int], others: Mapping[str, list[int]]) -> dict[str, float]:
    """Medians over the repeats of throughput, latency and CPU per request."""
    rows = []
    for _ in range(REPEATS):
        before, before_others = cpu_seconds(workers), {name: cpu_seconds(pids) for name, pids in others.items()}
        row = load_once(port, key, stream)
        row["cpu_ms"] = 1000 * (cpu_seconds(workers) - before) / max(row["requests"], 1)
        for name, pids in others.items():
            row[f"{name}_cpu_ms"] = 1000 * (cpu_seconds(pids) - before_others[name]) / max(row["requests"], 1)
        row["far_memory_ns"] = far_memory_ns()
        rows.append(row)
    result = {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}
    result["failed"] = sum(row["failed"] for row in rows)
    result["requests_in_all"] = sum(row["requests"] for row in rows)
    return result


def told(name: str, result: Mapping[str, float]) -> bool:
    """Print one line, with what misses its bar; whether every bar is met."""
    bars = BARS.get(name, {})
    misses = [
        f"{figure} {result[figure]} misses {bar}"
        for figure, bar in bars.items()
        if (result[figure] < bar if figure == "per_second" else result[figure] > bar)
    ]
    figures = "  ".join(f"{figure}={value}" for figure, value in result.items())
    sys.stdout.write(f"{name:16} {figures}" + ("  MISS: " + "; ".join(misses) if misses else "") + "\n")
    sys.stdout.flush()
    return not misses


def accounted(service: Running, requests: int) -> list[str]:
    """Why the run does not count; empty where it does."""
    began = time.monotonic()
    service.settled()
    waited = time.monotonic() - began
    faults = [f"the outbox took {waited:.1f} s to empty"] if waited > DRAIN_SECONDS else []
    engine = create_engine(f"sqlite:///{service.data_dir / 'router.db'}")
    with engine.connect() as connection:
        entries = connection.scalar(text("SELECT count(*) FROM ledger_entries WHERE closed_at IS NOT NULL"))
        evidence = connection.scalar(text("SELECT count(*) FROM evidence WHERE kind = 'admitted'"))
        files = json.loads(connection.scalar(text("SELECT files FROM revisions WHERE status = 'active'")))
        if entries != requests or evidence != requests:
            faults.append(f"{requests} requests, {entries} closed ledger entries, {evidence} admissions in evidence")
        rules = load(files)
        rows = connection.execute(text("SELECT record FROM evidence WHERE kind = 'admitted'")).scalars().all()
        sample = random.Random(1).sample(rows, max(len(rows) // 100, 1))
        for raw in sample:
            record = msgspec.json.decode(raw, type=Record)
            if not isinstance(record, Admitted) or decide(rules, record.facts) != record.decision:
                faults.append("a recorded decision does not come out the same again")
                break
    sys.stdout.write(
        f"accounting       requests={requests} closed={entries} evidence={evidence} replayed={len(sample)} drained_in={waited:.2f}s\n"
    )
    engine.dispose()
    return faults


def main() -> int:
    """Run everything; 1 where a bar is missed or the run does not count."""
    port = free_port()
    stub = spawn(["tests.benchmarks.stub", "--port", str(port)], OTHER_CORE)
    good = True
    try:
        floor_port = free_port()
        arguments = [
            "uvicorn",
            "tests.benchmarks.floor:app",
            "--port",
            str(floor_port),
            "--no-access-log",
            "--log-level",
            "error",
        ]
        floor = spawn(arguments, WORKER_CORE, {"BENCH_UPSTREAM": f"http://127.0.0.1:{port}/v1"})
        try:
            wait_for(lambda: any(c.laddr.port == floor_port for c in psutil.Process(floor.pid).net_connections()), what="floor")
            floors = {}
            for stream in (False, True):
                floors[stream] = measured(floor_port, "none", stream, [floor.pid], {})
                told(f"floor {'stream' if stream else 'json'}", floors[stream])
        finally:
            floor.send_signal(signal.SIGTERM)
            floor.wait()
        with tempfile.TemporaryDirectory(prefix="router-bench-") as place:
            began = time.monotonic()
            with running(
                Path(place) / "data", rules={"models.yaml": MODELS.format(port=port)}, environment={"BENCH_KEY": "none"}
            ) as service:
                ready = time.monotonic() - began
                good &= told("start", {"ready_seconds": round(ready, 2)})
                workers, drainers = service.children("work"), service.children("drain")
                redis = [json.loads((service.data_dir / "redis.json").read_text())["pid"]]
                for pid in workers:
                    pin(pid, WORKER_CORE)
                for pid in (*drainers, *redis):
                    pin(pid, OTHER_CORE)
                key = service.key()
                load_once(service.port, key, False, connections=1, seconds=1.0)
                warm = service.settled()["total"]["requests"]
                total = warm
                others = {"drainer": drainers, "redis": redis}
                for stream in (False, True):
                    result = measured(service.port, key, stream, workers, others)
                    total += int(result.pop("requests_in_all"))
                    # Wall and processor times drift with the machine; how many floors a request costs does not.
                    result["floors"] = round(result["cpu_ms"] / floors[stream]["cpu_ms"], 2)
                    good &= told(f"router {'stream' if stream else 'json'}", result) and not result["failed"]
                alone = load_once(service.port, key, False, connections=1)
                total += int(alone["requests"])
                told("router alone", alone)
                memory = {"worker_mib": round(max(psutil.Process(pid).memory_info().rss for pid in workers) / 2**20, 1)}
                good &= told("memory", memory)
                faults = accounted(service, total)
                for fault in faults:
                    sys.stdout.write(f"DOES NOT COUNT   {fault}\n")
                good &= not faults
    finally:
        stub.send_signal(signal.SIGTERM)
        stub.wait()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
