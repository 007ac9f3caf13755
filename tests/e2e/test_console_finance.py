"""The finance pages in a real browser: last month's overspend of one team in three clicks, its workbook, and the close of the month.

Makes the pictures of `docs/screens` where ROUTER_SCREENS names a directory for them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from console_visits import PASSWORD, Browser, signed_in
from governing import token
from running import Running, running, wait_for
from spent import OVERSPENDING, month_before, spent

from router.clock import utc_now
from router.money import usd
from router.reports.spans import span
from router.reports.spend import Figures
from router.storage.sql.engine import open_engine
from router.storage.sql.finance import spend
from routing_rules.load import complete

CHROMIUM = Path("/usr/bin/chromium")
WIDTH, HEIGHT, TALLEST = 1200, 780, 1700
READER, SECOND, ADMIN, EDITOR = "flo@example.org", "fred@example.org", "ada@example.org", "ann@example.org"
OWNER_BUDGETS = """owner_budgets:
  - {owner: sam@example.org, soft_usd: 12}
  - {owner: sue@example.org, soft_usd: 6, hard_usd: 8}
  - {owner: fay@example.org, hard_usd: 40}
"""

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is missing")]


class World:
    """A service with three months of spend in its ledger, and people of four kinds."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.url = f"sqlite:///{service.data_dir / 'router.db'}"
        self.now = utc_now()
        engine = open_engine(self.url)
        try:
            spent(engine, self.now)
        finally:
            engine.dispose()
        self.visits: dict[str, Browser] = {}
        for email, role in ((SECOND, "finance"), (ADMIN, "admin"), (EDITOR, "editor")):
            self.visits[email] = signed_in(service, email, role)

    @property
    def last_month(self) -> datetime:
        """When the last month began."""
        return month_before(self.now)

    def figures(self, by: str, period: str = "last-month", **where: str) -> dict[str, Figures]:
        """What the ledger says."""
        found = span(period, self.now, ZoneInfo("UTC"))
        engine = open_engine(self.url)
        try:
            narrowed = {name: (value,) for name, value in where.items()}
            return {row.group[0]: row.figures for row in spend(engine, (by,), found.since, found.until, narrowed).rows}
        finally:
            engine.dispose()


def rules() -> dict[str, str]:
    """The shipped ones, with budgets for three owners."""
    text = complete({}, utc_now().date())["budgets.yaml"]
    assert "owner_budgets: []\n" in text
    return {"budgets.yaml": text.replace("owner_budgets: []\n", OWNER_BUDGETS)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("finance") / "data", rules=rules()) as service:
        yield World(service)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


class Screen:
    """A window, in which somebody may be signed in."""

    def __init__(self, chromium: Any, world: World, email: str | None, *, dark: bool = False, width: int = WIDTH) -> None:
        self.base, self.width = world.service.base_url + "/console", width
        self.context = chromium.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        if email is not None:
            jar = world.visits[email].cookies
            self.context.add_cookies([{"name": name, "value": value, "url": self.base} for name, value in jar.items()])
        self.page = self.context.new_page()
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def open(self, path: str) -> None:
        answer = self.page.goto(self.base + path)
        assert answer.status == 200, (path, answer.status)

    def looked_at(self, name: str = "") -> None:
        """Nothing serious for axe, every picture there, nothing wider than the window; and a picture of it."""
        self.page.wait_for_load_state("networkidle")
        assert self.page.evaluate("[...document.images].every((each) => each.complete && each.naturalWidth > 0)"), name
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = [
            each for each in axe.run(self.page).response["violations"] if each["impact"] in ("serious", "critical", "moderate")
        ]
        assert not found, [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
        assert not self.faults, self.faults
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.width, f"{name} is wider than its window"
        if name and (directory := os.environ.get("ROUTER_SCREENS")):
            images = pytest.importorskip("PIL.Image")
            image = images.open(io.BytesIO(self.page.screenshot(full_page=True))).convert("RGB")
            image = image.crop((0, 0, image.width, min(image.height, TALLEST)))
            image.quantize(200, dither=0).save(Path(directory) / f"finance-{name}.png", optimize=True)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def saved(self, name: str) -> bytes:
        """The file behind a link of this name."""
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name=name, exact=True).click()
        return Path(download.value.path()).read_bytes()


def column(sheet: Any, name: str) -> dict[str, Any]:
    """A column of a sheet by the values of its first one."""
    heads = [cell.value for cell in sheet[1]]
    return {row[0]: row[heads.index(name)] for row in sheet.iter_rows(min_row=2, values_only=True)}


def test_a_finance_reader_finds_an_overspend_in_three_clicks_takes_it_along_and_closes_the_month(
    chromium: Any, world: World
) -> None:
    first = world.visits[SECOND]
    fin = Screen(chromium, world, None)
    invited = token(world.service, READER, "finance")
    fin.open("/sign-in")
    fin.page.get_by_label("E-mail address").fill(READER)
    fin.page.get_by_label("Password").fill(invited)
    fin.press("Sign in")
    fin.page.locator("input[name=new]").fill(PASSWORD)
    fin.page.locator("input[name=again]").fill(PASSWORD)
    fin.page.locator("main button").first.click()
    fin.page.wait_for_url("**/console/finance")  # where a finance reader comes first

    fin.page.get_by_role("link", name="Last month", exact=True).click()  # one
    fin.looked_at("spend")
    row = fin.page.locator("#groups tbody tr").filter(has_text="over budget")
    assert row.count() == 1
    row.get_by_role("link", name=OVERSPENDING, exact=True).click()  # two
    told = fin.page.inner_text("main")
    figures = world.figures("owner", team=OVERSPENDING)
    over = figures["sam@example.org"].cost_nano - 12_000_000_000
    assert over > 0
    assert f"over it by ${over / 1e9:,.2f}" in told
    fin.looked_at("team")
    heading = fin.page.locator("#groups").get_by_role("link", name="XLSX").get_attribute("aria-label")
    book = openpyxl.load_workbook(io.BytesIO(fin.saved(heading)))  # three
    assert book.sheetnames == ["Summary", "Table"]
    sheet = book["Table"]
    assert {name: round(value * 1e9) for name, value in column(sheet, "spend (USD)").items()} == {
        name: each.cost_nano for name, each in figures.items()
    }
    assert round(column(sheet, "over budget (USD)")["sam@example.org"] * 1e9) == over
    assert sheet.auto_filter.ref
    assert column(sheet, "requests")["sam@example.org"] == figures["sam@example.org"].requests

    for month in (month_before(world.now, 2), world.last_month):
        fin.page.get_by_role("link", name="Months", exact=True).click()
        fin.looked_at()
        fin.press(f"Close {month:%Y-%m}")
        assert "The month is closed" in fin.page.inner_text("main")
    fin.looked_at("months")
    frozen = fin.page.locator("#months tbody tr").first.inner_text()
    total = sum(each.cost_nano for each in world.figures("owner").values())
    assert f"{world.last_month:%Y-%m}" in frozen
    assert f"${total / 1e9:,.2f}" in frozen
    assert world.service.cli("audit", "verify").startswith("intact")

    fin.press("Ask for it")
    assert fin.page.get_by_role("button", name="Confirm: open it again").count() == 0
    path = f"/finance/months/{world.last_month:%Y-%m}/reopen"
    assert first.post(path, page="/finance/months").status_code == 303
    assert "is open again" in first.get("/finance/months?done=reopened").text
    fin.context.close()


def test_every_figure_is_followed_down_to_single_requests_and_adds_up(chromium: Any, world: World) -> None:
    fin = Screen(chromium, world, SECOND)
    fin.open("/finance?period=last-month&by=session&team=finance")
    session = fin.page.locator("#groups tbody th a").first
    name = session.inner_text()
    session.click()
    fin.looked_at()
    answer = world.visits[SECOND].get(f"/finance/files/requests.csv?{fin.page.url.partition('?')[2]}")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert sum(round(float(row["cost (USD)"]) * 1e9) for row in rows) == world.figures("session", team="finance")[name].cost_nano
    all_of_them = "/finance/files/requests.csv?period=last-month&team=search"
    table = list(csv.DictReader(io.StringIO(world.visits[SECOND].get(all_of_them).text)))
    assert len(table) == world.figures("team")["search"].requests > 100, "more than a page"
    fin.page.locator("#requests tbody th a").first.click()
    fin.looked_at()
    told = fin.page.inner_text("main")
    assert rows[0]["request"] in told
    assert "kind of use" in told.lower()
    for forbidden in ("/decisions", "/sessions", "/rules", "/keys", "/approvals", "/proposals"):
        assert fin.page.locator(f"a[href*='{forbidden}']").count() == 0, forbidden
    fin.context.close()


def test_charts_and_tables_are_taken_along_and_say_the_same(world: World) -> None:
    browser = world.visits[SECOND]
    query = "period=last-month&by=team"
    for name, kind in (("over-time.svg", "image/svg+xml"), ("over-time.png", "image/png"), ("tiers.svg", "image/svg+xml")):
        answer = browser.get(f"/finance/files/{name}?{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert len(answer.content) > 2_000
    figures = world.figures("team")
    table = list(csv.DictReader(io.StringIO(browser.get(f"/finance/files/groups.csv?{query}").text)))
    assert {row["team"]: row["spend (USD)"] for row in table} == {name: usd(each.cost_nano) for name, each in figures.items()}
    told = json.loads(world.service.cli("report", "spend", "--by", "team", "--period", "last-month", "--format", "json"))
    assert {row["team"]: row["cost_usd"] for row in told["rows"]} == {row["team"]: row["spend (USD)"] for row in table}
    over_time = list(csv.DictReader(io.StringIO(browser.get(f"/finance/files/over-time.csv?{query}").text)))
    for team, each in figures.items():
        assert sum(round(float(row["spend (USD)"]) * 1e9) for row in over_time if row["team"] == team) == each.cost_nano
    found = span("last-month", world.now, ZoneInfo("UTC"))
    spans = urlencode({"since": found.since.isoformat(), "until": found.until.isoformat(), "where": f"team={OVERSPENDING}"})
    lines = browser.get(f"/finance/exports/file?format=csv&{spans}")
    assert 'attachment; filename="' in lines.headers["content-disposition"]
    assert lines.headers["content-security-policy"].startswith("default-src 'none'")
    exported = sum(int(row["cost_nano"]) for row in csv.DictReader(io.StringIO(lines.text)))
    assert exported == figures[OVERSPENDING].cost_nano
    for wrong in ("nothing.csv", "groups.svg", "groups.exe", "over-time"):
        assert browser.get(f"/finance/files/{wrong}?{query}").status_code == 404, wrong
    for wrong in ("by=prompt", "period=2026-13", "from=x", "grain=second", "from=2026-02-02&to=2026-02-01"):
        assert browser.get(f"/finance?{wrong}").status_code == 400, wrong


def test_a_budget_says_what_is_left_and_where_it_will_end(world: World) -> None:
    browser = world.visits[SECOND]
    spent = world.figures("owner", "this-month")["sue@example.org"].cost_nano
    days = list(csv.DictReader(io.StringIO(browser.get("/finance/files/budget.csv?owner=sue@example.org").text)))
    known = [row for row in days if row["spent until then (USD)"]]
    assert known[-1]["spent until then (USD)"] == usd(spent)
    assert known[-1]["left (USD)"] == usd(8_000_000_000 - spent)
    end = days[-1]
    low, middle, high = (float(end[f"{name} (USD)"]) for name in ("at least", "forecast", "at most"))
    assert spent / 1e9 <= low <= middle <= high
    budgets = {row["owner"]: row for row in csv.DictReader(io.StringIO(browser.get("/finance/files/budgets.csv").text))}
    assert budgets["sue@example.org"]["by the end (USD)"] == end["forecast (USD)"]
    assert browser.get("/finance/files/budget.svg?owner=sue@example.org").content.count(b"hard limit") == 1
    assert browser.get("/finance/budgets/nobody%40example.org").status_code == 404
    saved = list(csv.DictReader(io.StringIO(browser.get("/finance/files/savings.csv?period=last-month&by=rule").text)))
    figures = world.figures("rule")
    assert {row["rule"]: row["billed (USD)"] for row in saved} == {name: usd(each.cost_nano) for name, each in figures.items()}


def test_a_budget_is_raised_for_a_while(world: World) -> None:
    browser = world.visits[SECOND]
    last = f"{world.now + timedelta(days=5):%Y-%m-%d}"
    wanted = {"owner": "fay@example.org", "per": "month", "percent": "50", "amount": "", "until": last, "reason": "the audit <b>"}
    for wrong, told in (({"until": "soon"}, "written as"), ({"percent": ""}, "one of both"), ({"reason": " "}, "say why")):
        answer = browser.post("/finance/raises", wanted | wrong, page="/finance/budgets")
        assert (answer.status_code, told in answer.text) == (400, True), wrong
        assert 'value="the audit' in answer.text or wrong.get("reason"), "what was written is still there"
    assert browser.post("/finance/raises", wanted, page="/finance/budgets").headers["location"].endswith("?done=asked")
    page = browser.get("/finance/budgets").text
    assert "the audit &lt;b&gt;" in page
    raise_id = re.search(r"/finance/raises/(raise_\w+)", page)
    assert raise_id is not None
    done = browser.post(f"/finance/raises/{raise_id[1]}", {"decision": "approve"}, page="/finance/budgets")
    assert done.headers["location"].endswith("?done=approve")

    def limit() -> str:
        table = csv.DictReader(io.StringIO(browser.get("/finance/files/budgets.csv").text))
        return next(row["limit (USD)"] for row in table if row["owner"] == "fay@example.org")

    wait_for(lambda: limit() == "60", 5, "the raise on this worker")
    assert browser.post(f"/finance/raises/{raise_id[1]}", {"decision": "end"}, page="/finance/budgets").status_code == 303
    wait_for(lambda: limit() == "40", 5, "the end of the raise on this worker")
    assert browser.post("/finance/raises/raise_none", {"decision": "end"}, page="/finance/budgets").status_code == 404


def test_a_finance_reader_sees_no_prompt_no_key_and_no_rule_edit(world: World) -> None:
    browser = world.visits[SECOND]
    page = browser.get("/finance").text
    for path in (
        "/decisions",
        "/sessions",
        "/approvals",
        "/rules",
        "/rules/edit",
        "/proposals",
        "/catalogue",
        "/keys",
        "/people",
    ):
        assert browser.get(path).status_code == 403, path
        assert f'href="/console{path}"' not in page, path
    assert browser.get("/finance/requests/req_none").status_code == 404
    assert browser.get("/spend").headers["location"] == "/console/finance"
    for email, status in ((ADMIN, 200), (EDITOR, 403)):
        assert world.visits[email].get("/finance").status_code == status, email
        assert world.visits[email].get("/finance/files/groups.csv").status_code == status, email
    month = f"{month_before(world.now, 1):%Y-%m}"
    for email in (ADMIN, EDITOR):
        assert world.visits[email].post(f"/finance/months/{month}/close").status_code == 403, email


def test_every_finance_page_can_be_looked_at_in_light_in_dark_and_on_a_narrow_screen(chromium: Any, world: World) -> None:
    month = f"{world.last_month:%Y-%m}"
    pages = {
        "running": "/finance",
        "movers": f"/finance/movers?period={month}",
        "savings": f"/finance/savings?period={month}",
        "budget": "/finance/budgets/sue%40example.org",
        "statement": f"/finance/months/{month}/statement?cost_center=cc-410",
    }
    others = (
        f"/finance?from={month}-10&to={month}-11&by=session",
        "/finance?period=2020-02",
        "/finance/budgets",
        f"/finance/months/{month}",
        "/finance/exports?team=search",
    )
    for dark, width in ((False, WIDTH), (True, WIDTH), (False, 420)):
        screen = Screen(chromium, world, SECOND, dark=dark, width=width)
        for name, path in pages.items():
            screen.open(path)
            as_documented = dark if name == "running" else not dark and width == WIDTH
            screen.looked_at(f"{name}-dark" if dark and as_documented else name if as_documented else "")
        for path in () if dark else others:
            screen.open(path)
            screen.looked_at()
        screen.context.close()
