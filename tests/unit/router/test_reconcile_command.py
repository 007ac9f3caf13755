"""`router report reconcile` on a data directory: exit status, remedies, and nothing half done."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sql_records import admitted, line, outcome, raw

from router.cli import cli
from router.cli.report_reconcile import reconcile
from router.exchange import Admitted, Outcome
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.records import SqlRecords
from router.usage import Basis

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
HEAD = "usage_date_utc,model,token_type,cost_usd\n"
MODEL = "model of fast-1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory whose ledger holds half a dollar of one model."""
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path))
    engine = open_engine(f"sqlite:///{tmp_path}/router.db")
    migrate(engine)
    records = (admitted("r1", at=NOON), outcome("r1", (line(500_000_000, quantity=1_000),), at=NOON))
    SqlRecords(engine).write([(1, raw(record)) for record in records])
    engine.dispose()
    return tmp_path


def run(folder: Path, text: str, *options: str) -> Result:
    (folder / "invoice.csv").write_text(text, encoding="utf-8")
    chosen = [] if "--deployment" in options else ["--deployment", "fast-*"]
    return CliRunner().invoke(reconcile, [str(folder / "invoice.csv"), "--provider", "anthropic", *chosen, *options])


def test_an_invoice_that_agrees_is_exit_status_nought_and_one_that_does_not_is_one(folder: Path) -> None:
    good = run(folder, f"{HEAD}2026-10-05,{MODEL},input_no_cache,0.5\n")
    assert (good.exit_code, "agrees: 0 USD left" in good.output) == (0, True), good.output
    bad = run(folder, f"{HEAD}2026-10-05,{MODEL},input_no_cache,0.75\n", "--format", "json")
    assert bad.exit_code == 1
    assert json.loads(bad.output)["parts"] == {"rounding": 5_000_000, "unexplained": 245_000_000}
    assert run(folder, f"{HEAD}2026-10-05,{MODEL},input_no_cache,0.75\n", "--tolerance", "0.25").exit_code == 0


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", (), "invoice.csv: row 1: no known export"),
        (f"{HEAD}2026-10-05,{MODEL},output,x\n", (), "invoice.csv: row 2, column `cost_usd`: `x` is no number"),
        (f"{HEAD}2026-10-05,{MODEL},output,1\n", ("--deployment", "none-*"), "it has fast-1: name what is on the invoice"),
        (f"{HEAD}2026-10-05,{MODEL},output,1\n", ("--alias", "x"), "--alias: write it as NAME=VALUE"),
        (f"{HEAD}2026-10-05,{MODEL},output,1\n", ("--columns", "when=x"), "--columns: there is no field `when`"),
        (f"{HEAD}2026-10-05,{MODEL},output,1\n", ("--rate", "x"), "--rate is a number"),
        (f"{HEAD}2026-10-05,{MODEL},output,1\n", ("--zone", "Mars/Base"), "Mars/Base"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(folder: Path, text: str, options: tuple[str, ...], words: str) -> None:
    result = run(folder, text, *options)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


def test_without_naming_deployments_they_are_found_by_the_provider(folder: Path) -> None:
    (folder / "invoice.csv").write_text(f"{HEAD}2026-10-05,{MODEL},input_no_cache,0.5\n")
    asked = [str(folder / "invoice.csv"), "--provider"]
    assert CliRunner().invoke(reconcile, [*asked, "fast"]).exit_code == 0
    assert "the ledger has nothing of `openai`" in CliRunner().invoke(reconcile, [*asked, "openai"]).output


def test_what_the_router_itself_exports_as_focus_agrees_with_its_ledger(folder: Path) -> None:
    engine = open_engine(f"sqlite:///{folder}/router.db")
    at = NOON + timedelta(hours=11, minutes=59, seconds=58)
    kinds = ("input", "cached_input", "output", "reasoning", "web_search")
    lines = tuple(line(1_234_567 * number, token_class=kind, quantity=7 * number) for number, kind in enumerate(kinds, 1))
    free = line(0, quantity=40, deployment="fast-2", unit_price=None)
    cut = outcome("r3", (line(9, quantity=3),), cost=5_000, how="reaped", basis=Basis.ESTIMATED, at=NOON)
    records: list[Admitted | Outcome] = [
        *(admitted("r2", at=at), outcome("r2", (*lines, free), at=at + timedelta(seconds=5))),
        *(admitted("r3", at=NOON), cut),
        outcome("r1", (line(123, quantity=1_000),), at=NOON + timedelta(days=2), correction=True),
    ]
    SqlRecords(engine).write([(1, raw(record)) for record in records])
    engine.dispose()
    for grain in ("request", "day"):
        path = folder / f"{grain}.csv"
        written = CliRunner().invoke(cli, ["report", "export", "--focus", "1.2", "--grain", grain, "-o", str(path)])
        assert written.exit_code == 0, written.output
        asked = ["report", "reconcile", str(path), "--provider", "fast", "--tolerance", "0", "--format", "json"]
        result = CliRunner().invoke(cli, asked)
        assert result.exit_code == 0, result.output
        document = json.loads(result.output)
        assert (document["layouts"], document["parts"], document["agrees"]) == (["focus"], {}, True)
