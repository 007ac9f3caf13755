"""Who gets in to the console, and how far: signing in, roles, forms, headers, the ends of a visit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyotp
import pytest
from console_visits import PASSWORD, Browser, signed_in
from governing import token
from running import Running, running, wait_for

from router.clock import utc_now
from router.console.access import BASE, ROUTES
from router.console.app import HEADERS
from router.console.pages import HANDLERS
from router.principals import Role

NOBODYS = {"name": "console.css", "proposal_id": "p999", "request_id": "req_none", "session_id": "s_none", "app": "none", "approval_id": "apr_none", "key_id": "key_none", "identity": "none", "revision": "r-none", "who": "nobody", "month": "2026-01", "form": "csv", "raise_id": "raise_none", "owner": "nobody@example.org"}  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("console") / "data") as service:
        yield service


@pytest.fixture(scope="module")
def browsers(service: Running) -> dict[Role, Browser]:
    return {role: signed_in(service, f"{role}@example.org", role) for role in Role}


def told(path: str) -> str:
    """A path with ids that nothing has."""
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: NOBODYS[found[1]], path)


def asked(browser: Browser, method: str, path: str, form: str | None = None) -> httpx.Response:
    return browser.get(told(path)) if method == "GET" else browser.post(told(path), form=form)


def test_every_page_has_a_row_in_the_table_and_every_row_a_page() -> None:
    assert set(HANDLERS) | {("GET", "/static/{name}")} == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), sorted(route for route in ROUTES if route != ("POST", "/sign-out")))
def test_each_page_lets_in_who_the_table_names_and_nobody_else(
    service: Running, browsers: dict[Role, Browser], method: str, path: str
) -> None:
    door = ROUTES[method, path]
    stranger = asked(Browser(service), method, path)
    if door.open:
        assert stranger.status_code in (200, 303, 400, 404), stranger.text
        return
    assert stranger.status_code in (303, 401)
    assert stranger.status_code == 401 or stranger.headers["location"].startswith(f"{BASE}/sign-in"), stranger.headers
    for role, browser in browsers.items():
        answer = asked(browser, method, path)
        if "in" not in door.steps:
            assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/")
        elif role in door.roles:
            assert answer.status_code not in (401, 405, 500, 503), (role, answer.status_code, answer.text)
            assert "role_required" not in answer.text or answer.status_code != 403 or "asks for the role" not in answer.text
        else:
            assert answer.status_code == 403, role
            assert "asks for the role" in answer.text


@pytest.mark.parametrize(("method", "path"), sorted(route for route in ROUTES if route[0] == "POST"))
def test_no_form_is_taken_that_does_not_bring_back_what_its_page_gave(
    browsers: dict[Role, Browser], method: str, path: str
) -> None:
    for wrong in ("", "another"):
        answer = asked(browsers[Role.ADMIN], method, path, form=wrong)
        assert answer.status_code == 400, answer.text
        assert "out of date" in answer.text
    other = browsers[Role.VIEWER].form("/account")
    assert asked(browsers[Role.ADMIN], method, path, form=other).status_code == 400


def test_a_form_from_another_site_is_refused(browsers: dict[Role, Browser]) -> None:
    browser = browsers[Role.ADMIN]
    for site in ("cross-site", "same-site"):
        answer = browser.post("/sign-out", sec_fetch_site=site)
        assert (answer.status_code, "another site" in answer.text) == (400, True)
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = browser.post("/sign-out", origin=origin)
        assert (answer.status_code, "another site" in answer.text) == (400, True)


def test_every_answer_carries_the_headers_that_keep_a_browser_safe(service: Running, browsers: dict[Role, Browser]) -> None:
    answers = [
        Browser(service).get("/sign-in"),
        Browser(service).get("/decisions"),
        Browser(service).get("/nothing"),
        browsers[Role.VIEWER].get("/account"),
        browsers[Role.VIEWER].get("/nothing"),
        browsers[Role.VIEWER].post("/account"),
    ]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["content-security-policy"]
    for answer in answers:
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", answer.text), "inline script or style"
    told = Browser(service).get("/sign-in").headers["set-cookie"]
    assert {"HttpOnly", "Path=/console", "SameSite=lax"} <= set(told.split("; "))


def test_behind_https_cookies_are_for_https_only(tmp_path: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("https") / "data"
    with running(directory, environment={"ROUTER_PUBLIC_URL": "https://router.example.org"}) as service:
        answer = Browser(service).get("/sign-in")
        assert answer.headers["set-cookie"].startswith("__Secure-router-console-form=")
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_the_token_opens_only_the_page_on_which_a_password_is_chosen_and_no_page_afterwards(service: Running) -> None:
    first = token(service, "first@example.org", "admin")
    browser = Browser(service)
    assert browser.sign_in("first@example.org", first).headers["location"] == "/console/password"
    for path in ("/", "/account", "/second-factor"):
        assert browser.get(path).headers["location"] == "/console/password"
    for new, again in (("short", "short"), (PASSWORD, PASSWORD + "!"), (first, first), ("first" * 4, "first" * 4)):
        answer = browser.post("/password", {"new": new, "again": again}, page="/password")
        assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    assert browser.post("/password", {"new": PASSWORD, "again": PASSWORD}, page="/password").status_code == 303
    assert browser.get("/account").status_code == 200
    assert Browser(service).sign_in("first@example.org", first).status_code == 403
    assert Browser(service).sign_in("First@Example.org ", PASSWORD).status_code == 303


def test_whoever_guesses_is_locked_out_and_nobody_learns_who_is_there(service: Running) -> None:
    signed_in(service, "locked@example.org", "viewer")
    for email in ("locked@example.org", "nobody@example.org"):
        answers = [Browser(service).sign_in(email, f"guess number {number}") for number in range(6)]
        assert [answer.status_code for answer in answers] == [403] * 5 + [429]
        assert len({re.search(r'role="alert">([^<]*)', answer.text)[1] for answer in answers[:5]}) == 1  # type: ignore[index]
        assert Browser(service).sign_in(email, PASSWORD).status_code == 429


def test_a_second_factor_is_asked_for_once_it_is_set_up_and_each_code_counts_once(service: Running) -> None:
    browser = signed_in(service, "two@example.org", "viewer")
    page = browser.get("/second-factor").text
    secret = re.search(r'<p class="code"><code>([A-Z2-7 ]+)</code>', page)[1].replace(" ", "")  # type: ignore[index]
    assert browser.post("/second-factor", {"code": "000000"}, page="/second-factor").status_code == 422
    done = browser.post("/second-factor", {"code": pyotp.TOTP(secret).at(utc_now())}, page="/second-factor")
    codes = re.findall(r"<li><code>([0-9a-f-]{19})</code>", done.text)
    assert (done.status_code, len(codes)) == (200, 10)
    assert browser.get("/account").status_code == 200

    again = Browser(service)
    assert again.sign_in("two@example.org", PASSWORD).headers["location"] == "/console/code"
    for path in ("/", "/account", "/password", "/second-factor"):
        assert again.get(path).headers["location"] == "/console/code"
    used = pyotp.TOTP(secret).at(utc_now())
    assert again.post("/code", {"code": used}, page="/code").status_code == 403, "it was used to set the factor up"
    assert again.post("/code", {"code": codes[0]}, page="/code").headers["location"] == "/console/"
    assert again.get("/account").status_code == 200
    third = Browser(service)
    third.sign_in("two@example.org", PASSWORD)
    assert third.post("/code", {"code": codes[0]}, page="/code").status_code == 403
    stored = service.data_dir / "router.db"
    assert secret.encode() not in stored.read_bytes()
    assert codes[1].encode() not in stored.read_bytes()


def test_a_visit_ends_with_signing_out_with_a_new_password_elsewhere_and_with_the_person(service: Running) -> None:
    browser = signed_in(service, "ends@example.org", "viewer")
    other = Browser(service)
    other.sign_in("ends@example.org", PASSWORD)
    assert other.get("/account").status_code == 200
    changed = browser.post("/password", {"old": PASSWORD, "new": PASSWORD + "!", "again": PASSWORD + "!"}, page="/password")
    assert changed.headers["location"] == "/console/account?done=password"
    assert browser.get("/account").status_code == 200
    assert other.get("/account").status_code == 303
    kept = dict(browser.cookies)
    assert browser.post("/sign-out").headers["location"] == "/console/sign-in"
    browser.cookies.update(kept)
    assert browser.get("/account").status_code == 303, "the cookie alone is worth nothing afterwards"
    assert browser.sign_in("ends@example.org", PASSWORD + "!").status_code == 303
    service.cli("people", "end", "ends@example.org")
    wait_for(lambda: browser.get("/account").status_code == 303, 2, "the end of a person")


def test_after_signing_in_one_goes_on_to_a_page_of_the_console_and_nowhere_else(service: Running) -> None:
    signed_in(service, "onward@example.org", "viewer")
    outside = ("https://evil.example", "//evil.example", "/console//evil.example", "/console/\\evil", "/v1/models", "")
    for onto, expected in [("/console/account", "/console/account"), *((each, "/console/") for each in outside)]:
        browser = Browser(service)
        answer = browser.post("/sign-in", {"email": "onward@example.org", "password": PASSWORD, "next": onto}, page="/sign-in")
        assert answer.headers["location"] == expected


def test_a_worker_that_nobody_asks_for_the_console_does_not_import_it(service: Running) -> None:
    with running(service.data_dir.parent / "quiet") as quiet:
        quiet.get("/healthz")
        (worker,) = quiet.children("work")
        libraries = Path(f"/proc/{worker}/maps")  # argon2 is one
        assert "argon2" not in libraries.read_text()
        Browser(quiet).sign_in("nobody@example.org", "nothing at all")
        assert "argon2" in libraries.read_text()
