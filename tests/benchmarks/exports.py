"""Exports a million ledger lines and says how long that takes and how much memory: `python tests/benchmarks/exports.py [LINES]`.

The ledger is made first, in a temporary directory; each export runs in a process of its own, whose largest resident set counts.
"""

from __future__ import annotations

import gc
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from router.cli.report_export import COLLECTOR
from router.reports.exports.write import Form, write_file
from router.storage.sql import bulk, rollups
from router.storage.sql.engine import open_engine, writing
from router.storage.sql.finance_lines import exporting
from router.storage.sql.migrate import migrate
from router.storage.sql.tables import ledger_entries, ledger_lines

LINES = 1_000_000
LINES_OF_A_REQUEST = 4
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FORMS = (Form("parquet"), Form("parquet", "1.2"), Form("parquet", "1.4", "day"), Form("csv"), Form("csv", "1.2"))
BAR_SECONDS, BAR_MIB = 15.0, 300.0
ROOT = Path(__file__).parents[2]


def make(url: str, lines: int) -> None:
    """A ledger of so many lines over a quarter."""
    engine = open_engine(url)
    migrate(engine)
    rollups.ensure(engine)
    rng = random.Random(1)
    requests = lines // LINES_OF_A_REQUEST
    for first in range(0, requests, 10_000):
        entries, rows = [], []
        for number in range(first, min(first + 10_000, requests)):
            name = f"req_{rng.getrandbits(96):024x}"
            at = BEGIN + timedelta(seconds=number * 90 * 86_400 / requests)
            app, model = f"app-{rng.randrange(40)}", f"model-{rng.randrange(12)}"
            said = {
                "request_id": name, "opened_at": at, "closed_at": at, "app": app, "owner": f"owner-{rng.randrange(60)}@example.com",
                "team": f"team-{rng.randrange(15)}", "cost_center": f"cc-{rng.randrange(25)}", "purpose": "support",
                "session": f"s_{rng.getrandbits(96):024x}", "task": "coding", "sensitivity": "internal", "complexity": "simple",
                "rule": f"r-{rng.randrange(30)}", "revision": "rev-1", "tier": "fast", "deployment": model, "model": model,
                "provider": "openai", "outcome": "completed", "basis": "reported", "held_nano": 0, "cost_nano": 0, "over_hold": False,
                "line_count": LINES_OF_A_REQUEST, "corrections": 0, "asked_model": "auto", "impact": "normal",
                "latency_class": "interactive", "router_us": 900, "upstream_us": 800_000,
            }  # fmt: skip
            entries.append(tuple(said.get(column.name) for column in ledger_entries.columns))
            for line, token_class in enumerate(("input", "cached_input", "output", "reasoning")[:LINES_OF_A_REQUEST]):
                quantity, price = rng.randrange(1, 30_000), 1_000_000 * (line + 1)
                own = {
                    "line": line, "at": at, "incurred_at": at, "attempt": 1, "token_class": token_class, "quantity": quantity,
                    "unit_price": price, "list_price": price, "cost_nano": quantity * (line + 1), "price_source": "catalogue",
                    "correction": False, "unit": "tokens", "price_book": "book-1",
                }  # fmt: skip
                rows.append(tuple((said | own).get(column.name) for column in ledger_lines.columns))
        with writing(engine) as connection:
            bulk.add(connection, ledger_entries, entries)
            bulk.add(connection, ledger_lines, rows)
    engine.dispose()


def export(url: str, form: Form, path: Path) -> None:
    """One export, in this process; prints what it took."""
    gc.set_threshold(*COLLECTOR)
    began = time.perf_counter()
    with exporting(open_engine(url), None, None, {}, BEGIN) as source:
        written = write_file(source, form, path)
    seconds, cpu = time.perf_counter() - began, time.process_time()
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = " ".join(filter(None, (form.format, form.focus and f"FOCUS {form.focus}", form.grain)))
    print(  # noqa: T201
        f"{name:32} {written.rows:>9} rows {written.bytes / 2**20:7.1f} MiB {seconds:6.1f} s {cpu:6.1f} s CPU {mib:6.0f} MiB resident"
    )
    if form == FORMS[0] and (seconds > BAR_SECONDS or mib > BAR_MIB):
        sys.exit(1)


def main() -> int:
    """Make the ledger and export it in each form; the exit status says whether Parquet holds its bar."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        make(url, lines)
        for place in range(len(FORMS)):
            failed += subprocess.run([sys.executable, __file__, url, str(place), folder], cwd=ROOT, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if len(sys.argv) == 4:
        export(sys.argv[1], FORMS[int(sys.argv[2])], Path(sys.argv[3]) / "export")
    else:
        sys.exit(main())
