"""The console in a real browser: a change of the rules from the first click to taking it back, and every page looked at.

Makes the pictures of `docs/screens` where ROUTER_SCREENS names a directory for them.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from console_visits import PASSWORD, Browser, signed_in
from governing import token
from running import Running, free_port, running, wait_for

from router.clock import utc_now
from router.exchange import Held, HeldCall
from router.secret_key import read_secret
from router.settings import Settings
from router.storage.embedded_redis import redis_url_of
from router.storage.redis_approvals import RedisApprovals
from router.storage.redis_client import RedisClient
from routing_rules.facts import Labels
from routing_rules.load import complete
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Capability, Integrity, Sensitivity

CHROMIUM = Path("/usr/bin/chromium")
WIDTH, HEIGHT, TALLEST = 1200, 780, 1500
EDITOR, APPROVER, VIEWER = "ann@example.org", "eve@example.org", "vic@example.org"
CODING = "Review this internal function for bugs and correct it:\n```python\ndef add(item, items=[]):\n    items.append(item)\n    return items\n```\nOur customer is Maria Keller, born 12 March 1984, maria.keller@keller-holding.de, IBAN DE75 5121 0800 1245 1261 99."
PARCEL = {"type": "function", "function": {"name": "send_parcel", "description": "Send a parcel to an address.", "parameters": {"type": "object", "properties": {"address": {"type": "string"}}}}}  # fmt: skip
CALL = HeldCall(
    tool="email-send",
    name="send_email",
    owner="workplace@example.org",
    capabilities=frozenset({Capability.EGRESS}),
    arguments_digest="d1",
    arguments='{"to": "[EMAIL_ADDRESS_1]", "subject": "Offer", "body": "As agreed, the offer is attached."}',
    objections=(("destination_not_vouched", "the user names the destination, or it is on the set's allow-list"),),
    drift=0.31,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is missing"),
]


class World:
    """Two replicas under `four_eyes` with some traffic behind them, and people of three kinds."""

    def __init__(self, service: Running, replica: Running) -> None:
        self.service, self.replica = service, replica
        self.key = service.key()
        self.visits: dict[str, Browser] = {}
        self.visits[EDITOR] = signed_in(service, EDITOR, "editor", "tool-owner")
        self.visits[APPROVER] = signed_in(service, APPROVER, "approver", "admin")
        self.visits[VIEWER] = signed_in(service, VIEWER, "viewer", "finance")

    def ask(self, where: Running, text: str, **more: object) -> httpx.Response:
        body = {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 300, **more}
        return httpx.post(
            f"{where.base_url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {self.key}"}, timeout=60
        )

    def hold(self) -> str:
        """Something that waits for a person."""
        data_dir, now = self.service.data_dir, utc_now()
        url = redis_url_of(data_dir.absolute())
        assert url is not None
        held = Held(
            request_id=f"req_{token_hex(4)}", app="demo", owner="demo@example.org", team="platform", key_id="key_1", purpose="general",
            session_id=f"s_{token_hex(4)}", endpoint=Endpoint.CHAT, body_digest=token_hex(8), revision="r-1", rule="work-of-many-steps",
            message="the tool's owner approves this call", at=now, expires=now + timedelta(hours=4), calls=(CALL,),
            labels=Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL), requests=4, tool_calls=2, spent_nano=31_000_000, answer=b"kept",
        )  # fmt: skip

        async def run(url: str) -> str:
            client = RedisClient(url, time_limit=5.0)
            try:
                return await RedisApprovals(client, read_secret(Settings(data_dir=data_dir))).request(held)  # type: ignore[call-arg]
            finally:
                await client.aclose()

        with ThreadPoolExecutor(1) as beside:  # Playwright has a loop in this thread
            return beside.submit(lambda: asyncio.run(run(url))).result()


@contextmanager
def second_replica(service: Running) -> Iterator[Running]:
    """Another replica on the same stores."""
    redis = redis_url_of(service.data_dir.absolute())
    port = free_port()
    shared = {
        "REDIS_URL": str(redis),
        "DATABASE_URL": f"sqlite:///{service.data_dir.absolute() / 'router.db'}",
        "ROUTER_SECRET_KEY": read_secret(Settings(data_dir=service.data_dir)).hex(),  # type: ignore[call-arg]
        "ROUTER_GOVERNANCE": "four_eyes",
    }
    with running(service.data_dir.parent / "replica", environment=shared, port=port) as replica:
        yield replica


def reviewed() -> dict[str, str]:
    """The shipped sets, one of which is in the grace of its review."""
    today = utc_now().date()
    text = complete({}, today)["entitlements.yaml"]
    was = f"review_by: {today + timedelta(days=365)}\n    tools: [calculator"
    grace = f"{{until: {today + timedelta(days=6)}, approved_by: [ann@example.org, eve@example.org]}}"
    assert was in text
    told = f"review_by: {today - timedelta(days=2)}\n    grace: {grace}\n    tools: [calculator"
    return {"entitlements.yaml": text.replace(was, told)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    environment = {"ROUTER_GOVERNANCE": "four_eyes"}
    with (
        running(tmp_path_factory.mktemp("browser") / "data", rules=reviewed(), environment=environment) as service,
        second_replica(service) as replica,
    ):
        world = World(service, replica)
        command = [
            sys.executable,
            "-m",
            "router",
            "demo",
            "--url",
            service.base_url,
            "--key",
            world.key,
            "--data-dir",
            str(service.data_dir),
        ]
        subprocess.run(command, env=service.environment, check=True, capture_output=True)
        for _ in range(3):
            assert world.ask(service, CODING).status_code == 200
        world.ask(service, "Send a parcel to the warehouse.", tools=[PARCEL])
        service.settled()
        wait_for(lambda: json.loads(service.cli("tools", "pending", "--json")), 10, "the registration of a tool")
        yield world


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


class Screen:
    """A window in which somebody is signed in."""

    def __init__(self, chromium: object, world: World, email: str | None, *, dark: bool = False, script: bool = True) -> None:
        self.base = world.service.base_url + "/console"
        self.dark = dark
        self.context = chromium.new_context(  # type: ignore[attr-defined]
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if dark else "light", java_script_enabled=script
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
        answer = self.page.goto(path if path.startswith("http") else self.base + path)
        assert answer.status == 200, (path, answer.status)

    def looked_at(self, name: str, *, whole: bool = True) -> None:
        """Nothing serious for axe, nothing refused by the page's own policy, nothing wider than the window; and a picture."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = [
            each for each in axe.run(self.page).response["violations"] if each["impact"] in ("serious", "critical", "moderate")
        ]
        assert not found, [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
        assert not self.faults, self.faults
        assert self.page.evaluate("document.documentElement.scrollWidth") <= WIDTH, f"{name} is wider than its window"
        if (directory := os.environ.get("ROUTER_SCREENS")) and (not self.dark or name.startswith("map")):
            self.picture(Path(directory) / f"{name}.png", whole)

    def picture(self, path: Path, whole: bool) -> None:
        images = pytest.importorskip("PIL.Image")
        raw = self.page.screenshot(full_page=whole)
        image = images.open(io.BytesIO(raw)).convert("RGB")
        image = image.crop((0, 0, image.width, min(image.height, TALLEST)))
        path.parent.mkdir(parents=True, exist_ok=True)
        image.quantize(96, dither=0).save(path, optimize=True)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def close(self) -> None:
        self.context.close()


def test_a_change_of_the_rules_from_the_first_click_to_taking_it_back(chromium: object, world: World) -> None:
    ann, eve = Screen(chromium, world, EDITOR), Screen(chromium, world, APPROVER)
    ann.open("/rules")
    ann.looked_at("rules")
    ann.page.get_by_role("link", name="Edit the table").click()
    ann.press("Edit confidential-demanding")
    ann.page.get_by_role("group", name="task").get_by_label("coding").check()
    ann.press("Check")  # hidden, first: what Enter does
    ann.looked_at("rules-edit", whole=False)
    ann.page.get_by_label("Why this change").fill("Coding on confidential data merits deliberation")
    ann.press("Save as a proposal")
    assert "1 cell of the map changes, 1 widens" in ann.page.inner_text("main").replace("\n", " ")
    proposal = ann.page.url.partition("?")[0]
    ann.press("Replay the last days")
    replayed = ann.page.get_by_role("heading", name="Replay").inner_text()
    assert "3 of" in replayed, "the three requests for confidential code"
    assert ann.page.get_by_role("button", name="Approve", exact=True).count() == 0
    assert "you proposed it: somebody else approves" in ann.page.inner_text("main")
    for verb in ("approve", "activate"):
        answer = world.visits[EDITOR].post(f"/proposals/{proposal.rpartition('/')[2]}", {"action": verb}, page="/account")
        assert answer.status_code == 403, verb
    ann.looked_at("proposal")

    eve.open(f"/map?proposal={proposal.rpartition('/')[2]}")
    assert "1 cell changes, 1 widens" in eve.page.inner_text("main")
    eve.looked_at("map-of-a-proposal")
    eve.open(proposal)
    eve.page.get_by_label("Note").fill("Agreed with security, for all teams")
    eve.press("Approve")
    before = world.ask(world.replica, CODING)
    assert (before.headers["x-router-tier"], before.headers["x-router-task"]) == ("fast", "coding")
    eve.press("Put it in force")
    wait_for(
        lambda: world.ask(world.replica, CODING).headers.get("x-router-tier") == "reasoning",
        2,
        "the new revision on the other replica",
    )
    eve.looked_at("proposal-in-force")

    eve.open("/proposals")
    eve.looked_at("proposals")
    eve.press("Take the last change back")
    wait_for(
        lambda: world.ask(world.replica, CODING).headers.get("x-router-tier") == "fast",
        2,
        "the old revision on the other replica",
    )
    ann.close()
    eve.close()


def test_two_people_who_edit_at_once_lose_nothing(chromium: object, world: World) -> None:
    token(world.service, "otto@example.org", "editor")
    world.visits["olga@example.org"] = signed_in(world.service, "olga@example.org", "editor")
    ann, olga = Screen(chromium, world, EDITOR), Screen(chromium, world, "olga@example.org")
    for screen, rule in ((ann, "trial"), (olga, "deliberation")):
        screen.open("/rules/edit")
        screen.press(f"Copy {rule}")
        screen.page.get_by_label("Why this change").fill(f"a second {rule}")
    ann.press("Save as a proposal")
    assert "/proposals/p" in ann.page.url
    olga.press("Save as a proposal")
    assert "Nothing of yours is lost" in olga.page.inner_text("main")
    assert "deliberation-copy" in olga.page.inner_text("main")
    assert "trial-copy" in olga.page.inner_text("main")
    olga.faults.clear()  # the browser says of a 409 that it is one
    olga.looked_at("rules-merge", whole=False)
    olga.press("Go on with both together")
    olga.press("Save the proposal again")
    assert "/proposals/p" in olga.page.url
    told = olga.page.inner_text("main")
    assert "ann@example.org with olga@example.org" in told
    assert "id: trial-copy" in told
    assert "id: deliberation-copy" in told
    ann.close()
    olga.close()


def test_every_page_can_be_looked_at_in_light_and_in_dark(chromium: object, world: World) -> None:
    approval = world.hold()
    world.visits[APPROVER].post("/people", {"email": "joe@example.org", "role": "viewer"}, page="/people")
    for dark in (False, True):
        ending = "-dark" if dark else ""
        nobody = Screen(chromium, world, None, dark=dark)
        nobody.open("/sign-in")
        nobody.looked_at(f"sign-in{ending}")
        eve = Screen(chromium, world, APPROVER, dark=dark)
        for name in ("decisions", "sessions", "approvals", "map", "catalogue", "keys", "people", "account", "second-factor"):
            eve.open(f"/{name}")
            eve.looked_at(f"{name}{ending}")
        eve.open(f"/approvals/{approval}")
        eve.looked_at(f"approval{ending}")
        eve.open("/catalogue/reach/demo")
        eve.looked_at(f"reach{ending}")
        eve.open("/decisions?sensitivity=confidential")
        eve.page.locator("tbody a").first.click()
        eve.looked_at(f"decision{ending}")
        eve.page.get_by_role("link", name="s_").first.click()
        eve.looked_at(f"session{ending}")
        ann = Screen(chromium, world, EDITOR, dark=dark)
        ann.open("/rules")
        ann.looked_at(f"rules{ending}")
        for screen in (nobody, eve, ann):
            screen.close()


def test_the_queue_is_worked_through_from_the_keyboard(chromium: object, world: World) -> None:
    world.hold()
    eve = Screen(chromium, world, APPROVER)
    eve.open("/approvals")
    waiting = eve.page.locator("[data-entry]").count()
    assert waiting
    for key in ("j", "n"):
        eve.page.keyboard.press(key)
    eve.page.keyboard.type("as agreed")
    eve.page.keyboard.press("Tab")
    eve.page.keyboard.press("Enter")
    eve.page.wait_for_url("**/approvals?done=approve")
    assert eve.page.locator("[data-entry]").count() == waiting - 1
    eve.close()


def test_without_script_the_pages_are_read_and_forms_are_sent(chromium: object, world: World) -> None:
    vic = Screen(chromium, world, None, script=False)
    vic.open("/sign-in")
    vic.page.get_by_label("E-mail address").fill(VIEWER)
    vic.page.get_by_label("Password").fill(PASSWORD)
    vic.press("Sign in")
    for name in ("decisions", "sessions", "map", "rules", "proposals", "catalogue"):
        vic.open(f"/{name}")
        assert len(vic.page.inner_text("main")) > 200, name
    vic.close()
