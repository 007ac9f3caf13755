"""What the pages of the console do, over HTTP: explaining a decision and keeping it as a case, reviews, workbooks, people."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from console_visits import Browser, signed_in
from governing import admin_key, api, token
from openpyxl import Workbook, load_workbook
from running import Running, running, wait_for

from router.clock import utc_now
from routing_rules.load import complete

TODAY = utc_now().date()
PAST, GRACE = TODAY - timedelta(days=3), TODAY + timedelta(days=5)
FILES = complete({}, TODAY)
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def with_reviews() -> str:
    """The shipped sets: the review of `pure` is past and in its grace, that of `private` past, that of `standard` due in six days."""
    text = FILES["entitlements.yaml"]
    days = {"pure": f"{PAST}\n    grace: {{until: {GRACE}, approved_by: [ann@example.org, bob@example.org]}}", "private": f"{PAST}", "standard": f"{TODAY + timedelta(days=6)}"}  # fmt: skip
    for name, day in days.items():
        text = re.sub(rf"(- id: {name}\n(?:    .*\n)*?    review_by: )\S+", rf"\g<1>{day}", text, count=1)
    return text


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("pages") / "data", rules={"entitlements.yaml": with_reviews()}) as service:
        yield service


@pytest.fixture(scope="module")
def editor(service: Running) -> Browser:
    return signed_in(service, "ann@example.org", "editor")


@pytest.fixture(scope="module")
def admin(service: Running) -> Browser:
    return signed_in(service, "ada@example.org", "admin")


def words(answer: httpx.Response) -> str:
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


@pytest.fixture(scope="module")
def decided(service: Running) -> str:
    """A request on which the rules decided."""
    text = "Review this function and correct it:\n```python\ndef add(item, items=[]):\n    items.append(item)\n```\nOur customer is Maria Keller, maria.keller@keller-holding.de, IBAN DE75 5121 0800 1245 1261 99."
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    answer = httpx.post(
        f"{service.base_url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {service.key()}"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    service.settled()
    return str(answer.headers["x-request-id"])


def test_a_decision_is_explained_with_its_clauses_its_losers_and_the_nearest_change(editor: Browser, decided: str) -> None:
    page = words(editor.get(f"/decisions/{decided}"))
    assert re.search(r"sensitivity is confidential; the rule asks for", page), page
    assert "What would have decided otherwise" in page
    assert re.search(r" instead of \w+( and .*?)?: (permit|refuse|hold|permitted|refused|held) by ", page), page
    assert re.search(r"\d+ rules that did not decide", page)


def test_a_case_of_a_decision_is_proposed_with_one_click_and_only_by_an_editor(
    service: Running, editor: Browser, admin: Browser, decided: str
) -> None:
    assert "Propose this case" in editor.get(f"/decisions/{decided}").text
    assert "Propose this case" not in admin.get(f"/decisions/{decided}").text
    made = editor.post(f"/decisions/{decided}/case")
    assert made.status_code == 303, made.text
    where = made.headers["location"].removeprefix("/console")
    proposal = words(editor.get(where))
    assert "cases/recorded.yaml" in proposal
    assert decided in proposal
    told = json.loads(service.cli("rules", "log", "--json"))
    assert any(decided in json.dumps(row) for row in (told if isinstance(told, list) else [told]))
    again = editor.post("/decisions/req_none/case")
    assert again.status_code == 404


def test_the_catalogue_shows_a_grace_who_gave_it_and_which_reviews_end(admin: Browser) -> None:
    page = words(admin.get("/catalogue"))
    due = page.partition("Reviews that are due")[2].partition("Deployments")[0]
    assert re.search(rf"pure entitlement set platform@example.org {PAST} past {GRACE} grace after {PAST}, by ann@example.org and bob@example.org", due), due  # fmt: skip
    assert re.search(rf"private entitlement set security@example.org {PAST} past {PAST}", due), due
    assert re.search(rf"standard entitlement set platform@example.org {TODAY + timedelta(days=6)} 7 days or less", due), due
    html = admin.get("/catalogue").text.partition("<h2>Entitlement sets")[2]
    assert re.search(rf'reach/pure".*?tag warn">{GRACE}', html)
    assert re.search(rf'reach/private".*?tag bad">{PAST}', html)


def test_readiness_names_the_reviews_that_end_to_those_who_govern_and_stays_well(service: Running) -> None:
    url, person = f"{service.base_url}/readyz", token(service, "vic@example.org", "viewer")
    finance = token(service, "fin@example.org", "finance")
    assert api(service, "GET", "/api/me", person).status_code == api(service, "GET", "/api/me", finance).status_code == 200
    for secret in (admin_key(service), person):
        answer = httpx.get(url, headers={"authorization": f"Bearer {secret}"})
        found = {row["id"]: row for row in answer.json()["reviews"]}
        assert answer.status_code == 200
        assert {name: (row["overdue"], row["reminder_days"]) for name, row in found.items()} == {
            "pure": (False, 0),
            "private": (True, 0),
            "standard": (False, 7),
        }
        assert found["pure"]["counts_until"] == str(GRACE)
        assert found["pure"]["grace_by"] == ["ann@example.org", "bob@example.org"]
    for headers in ({}, {"authorization": "Bearer rp-no"}, {"authorization": f"Bearer {finance}"}):
        answer = httpx.get(url, headers=headers)
        assert (answer.status_code, "reviews" in answer.json()) == (200, False)


def send(browser: Browser, service: Running, data: bytes, reason: str = "as agreed in the sheet", **more: str) -> httpx.Response:
    """The form with a workbook."""
    fields = {"form": browser.form("/account"), "reason": reason, **more}
    with httpx.Client(cookies=browser.cookies, timeout=60) as client:
        return client.post(
            f"{service.base_url}/console/rules/workbook", data=fields, files={"workbook": ("table.xlsx", data, XLSX)}
        )


def edited(data: bytes, key: str, text: str, row: int = 2) -> tuple[bytes, str]:
    """The workbook with one cell of its routes changed, and where that cell is."""
    book = load_workbook(io.BytesIO(data))
    sheet = book["routes"]
    at = next(cell.column for cell in sheet[1] if cell.value == key)
    cell = sheet.cell(row, at)
    cell.value = text
    out = io.BytesIO()
    book.save(out)
    return out.getvalue(), f"routes!{cell.coordinate}"


def test_the_table_goes_out_as_a_workbook_and_comes_back_as_a_proposal(service: Running, editor: Browser) -> None:
    answer = editor.get("/rules/workbook")
    assert (answer.status_code, answer.headers["content-type"]) == (200, XLSX)
    assert re.fullmatch(r'attachment; filename="decision-table-[\w-]+\.xlsx"', answer.headers["content-disposition"])
    assert answer.content[:2] == b"PK"
    changed, _ = edited(answer.content, "reason", "A reason from a spreadsheet.")
    made = send(editor, service, changed)
    assert made.status_code == 303, words(made)
    proposal = words(editor.get(made.headers["location"].removeprefix("/console")))
    assert "A reason from a spreadsheet." in proposal
    assert "as agreed in the sheet" in proposal


def test_a_workbook_beside_which_somebody_else_was_faster_is_shown_with_theirs_and_lost_by_nobody(
    service: Running, editor: Browser
) -> None:
    data = editor.get("/rules/workbook").content
    for browser, reason, status in ((editor, "The reason of Ann.", 303), (signed_in(service, "otto@example.org", "editor"), "The reason of Otto.", 409)):  # fmt: skip
        answer = send(browser, service, edited(data, "reason", reason)[0])
        assert answer.status_code == status, words(answer)
    assert "Nothing of yours is lost" in words(answer)
    assert "The reason of Ann." in answer.text
    assert "The reason of Otto." in answer.text


def test_a_workbook_that_cannot_be_taken_is_told_by_sheet_and_cell_and_leaves_nothing(service: Running, editor: Browser) -> None:
    before = service.cli("rules", "log", "--json")
    data = editor.get("/rules/workbook").content
    wrong, where = edited(data, "then.tier", "fastest")
    other = io.BytesIO()
    Workbook().save(other)
    for sent, expected in (
        (wrong, where),
        (data, "it says what the rules say already"),
        (b"not a workbook", "this is no .xlsx file"),
        (b"", "this is no .xlsx file"),
        (other.getvalue(), "unknown sheet"),
        (edited(data, "then.tier", '=HYPERLINK("x")')[0], "a formula is not taken"),
    ):
        answer = send(editor, service, sent)
        assert answer.status_code == 422, words(answer)
        assert expected in words(answer).replace("&#34;", '"'), words(answer)
    assert "in a few words why" in words(send(editor, service, wrong, reason=""))
    assert send(editor, service, b"P" * 2_000_000).status_code == 413
    assert send(editor, service, wrong, form="another").status_code == 400
    assert send(editor, service, wrong, **{f"more{number}": "x" for number in range(30)}).status_code == 400
    assert service.cli("rules", "log", "--json") == before


def test_only_an_editor_brings_a_workbook_in(service: Running, admin: Browser, editor: Browser) -> None:
    data = admin.get("/rules/workbook")
    assert data.status_code == 200
    assert send(admin, service, data.content).status_code == 403
    assert "Propose an edited workbook" in editor.get("/rules").text
    assert "Propose an edited workbook" not in admin.get("/rules").text


def test_an_admin_adds_and_ends_people_and_the_token_is_shown_once(service: Running, admin: Browser) -> None:
    made = admin.post("/people", {"email": "Cleo@Example.org", "role": "viewer"}, page="/people")
    secret = re.search(r'id="made">(rp-[^<]+)<', made.text)
    assert secret is not None, words(made)
    assert api(service, "GET", "/api/me", secret[1]).json()["roles"] == ["viewer"]
    listed = admin.get("/people").text
    assert "cleo@example.org" in listed
    assert secret[1] not in listed
    for fields in ({"email": "nobody", "role": "viewer"}, {"email": "x@example.org"}, {"email": "x@example.org", "role": "god"}, {"email": "x@example.org", "role": "viewer", "expires": "soon"}, {"email": "x@example.org", "role": "viewer", "expires": "2001-01-01"}):  # fmt: skip
        assert admin.post("/people", fields, page="/people").status_code == 400, fields
    assert admin.post("/people/cleo@example.org/end", page="/people").headers["location"] == "/console/people?done=ended"
    wait_for(lambda: api(service, "GET", "/api/me", secret[1]).status_code == 401, 2, "the end of a person")


def test_under_four_eyes_another_admin_sees_who_waits_and_confirms_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = {"ROUTER_GOVERNANCE": "four_eyes"}
    with running(tmp_path_factory.mktemp("waiting") / "data", environment=environment) as service:
        ada, ben = (signed_in(service, f"{name}@example.org", "admin") for name in ("ada", "ben"))
        made = ada.post("/people", {"email": "eve@example.org", "role": "approver"}, page="/people")
        assert "of no use until another admin has confirmed them" in words(made)
        secret = re.search(r'id="made">(rp-[^<]+)<', made.text)
        assert secret is not None
        assert api(service, "GET", "/api/me", secret[1]).status_code == 401
        assert Browser(service).sign_in("eve@example.org", secret[1]).status_code == 403
        assert "another admin confirms" in words(ada.get("/people"))
        assert ada.post("/people/eve@example.org/confirm", page="/people").status_code == 403, "she added them"
        assert 'aria-label="Confirm eve@example.org"' in ben.get("/people").text
        assert ben.post("/people/eve@example.org/confirm", page="/people").headers["location"] == "/console/people?done=confirmed"
        wait_for(lambda: api(service, "GET", "/api/me", secret[1]).status_code == 200, 2, "the confirmed person")
        assert "confirmed by ben@example.org" in words(ada.get("/people"))
        assert ben.post("/people/eve@example.org/confirm", page="/people").status_code == 404


def test_the_greeting_says_where_the_console_is_and_how_the_first_person_gets_in(
    service: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = service.log.read_text()
    assert f"{service.base_url}/console" in told
    assert "router people add EMAIL --role admin" in told
    directory = tmp_path_factory.mktemp("greeting") / "data"
    with running(directory) as first:
        token(first, "ann@example.org", "admin")
    first.log.write_text("")
    with running(directory) as second:
        assert f"{second.base_url}/console" in second.log.read_text()
        assert "router people add EMAIL" not in second.log.read_text()
