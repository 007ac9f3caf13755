"""Who may use `/api`: by token or admin key, by the table of routes and roles, over HTTP and on two workers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from governing import admin_key, api, token
from running import Running, running, wait_for

from router.api.people import ROUTES
from router.app import create_app
from router.principals import Role
from router.settings import Settings


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("people") / "data", workers=2) as service:
        yield service


@pytest.fixture(scope="module")
def tokens(service: Running) -> dict[Role, str]:
    return {role: token(service, f"{role}@example.org", role) for role in Role}


def told(path: str) -> str:
    """A path with ids that nothing has."""
    return path.replace("{who}", "nobody").replace("{approval_id}", "apr_none").replace("{session_id}", "s_none")


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_each_route_lets_in_who_the_table_names_and_nobody_else(
    service: Running, tokens: dict[Role, str], method: str, path: str
) -> None:
    for role, secret in tokens.items():
        answer = api(service, method, told(path), secret)
        if role in ROUTES[method, path]:
            assert answer.status_code not in (401, 403, 405, 500), (role, answer.text)
            assert answer.status_code != 404 or answer.json()["error"]["code"] != "unknown_path"
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_required"), role
            assert answer.headers["x-should-retry"] == "false"
    assert api(service, method, told(path), admin_key(service)).status_code not in (401, 403, 405, 500)
    for wrong in (None, service.key(), "rp-nobody", "rk-nobody"):
        answer = api(service, method, told(path), wrong)
        assert answer.status_code == 401, answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_no_route_under_api_is_missing_from_the_table(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_DATA_DIR", str(tmp_path))
    app = create_app(Settings(redis_url="redis://127.0.0.1:1", access_log=False))  # type: ignore[call-arg,arg-type]
    routes = [
        one
        for route in app._others.routes  # type: ignore[attr-defined]
        for one in (route.original_router.routes if hasattr(route, "original_router") else [route])
    ]
    served = {(method, route.path) for route in routes if route.path.startswith("/api") for method in route.methods}
    assert served == set(ROUTES)


def test_a_person_is_added_by_an_admin_and_gone_on_every_worker_once_they_are_ended(
    service: Running, tokens: dict[Role, str]
) -> None:
    body = {"email": "Cleo@Example.org", "roles": ["viewer", "finance"]}
    made = api(service, "POST", "/api/people", tokens[Role.ADMIN], body)
    assert made.status_code == 201
    secret = made.json()["token"]
    for _ in range(6):  # whichever worker answers
        assert api(service, "GET", "/api/me", secret).json() == {"name": "cleo@example.org", "roles": ["viewer", "finance"]}
    listed = api(service, "GET", "/api/people", tokens[Role.ADMIN]).text
    assert "cleo@example.org" in listed
    assert secret not in listed
    assert "sha256" not in listed
    again = api(service, "POST", "/api/people", tokens[Role.ADMIN], body)
    assert (again.status_code, again.json()["error"]["code"]) == (400, "invalid_request")
    ended = api(service, "POST", "/api/people/cleo@example.org/end", tokens[Role.ADMIN])
    assert ended.json()["state"] == "ended"
    wait_for(lambda: all(api(service, "GET", "/api/me", secret).status_code == 401 for _ in range(6)), 2, "the end of a person")


def test_the_command_line_adds_lists_and_ends(service: Running) -> None:
    made = json.loads(service.cli("people", "add", "dora@example.org", "--role", "approver", "--expires", "2099-12-31", "--json"))
    assert made["token"].startswith(made["prefix"])
    assert api(service, "GET", "/api/me", made["token"]).json()["roles"] == ["approver"]
    listed = service.cli("people", "list", "--json")
    assert made["token"] not in listed
    assert {row["email"]: row["state"] for row in json.loads(listed)}["dora@example.org"] == "active"
    assert service.cli("people", "add", "dora@example.org", "--role", "admin", check=False) == ""
    service.cli("people", "end", "dora@example.org", "--json")
    wait_for(lambda: api(service, "GET", "/api/me", made["token"]).status_code == 401, 2, "the end of a person")


@pytest.mark.parametrize(
    "body",
    [{"email": "x@y.z"}, {"email": "x@y.z", "roles": ["god"]}, {"email": "x@y.z", "roles": ["viewer"], "more": 1}, [], "x"],
)
def test_a_body_that_says_too_little_or_too_much_is_refused(service: Running, tokens: dict[Role, str], body: object) -> None:
    answer = api(service, "POST", "/api/people", tokens[Role.ADMIN], body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_under_four_eyes_whoever_one_admin_adds_gets_in_once_another_has_confirmed_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    environment = {"ROUTER_GOVERNANCE": "four_eyes"}
    with running(tmp_path_factory.mktemp("four-eyes") / "data", environment=environment) as service:
        ann, bob = (token(service, f"{name}@example.org", "admin") for name in ("ann", "bob"))
        body = {"email": "eve@example.org", "roles": ["approver"]}
        alone = api(service, "POST", "/api/people", admin_key(service), body)
        assert (alone.status_code, alone.json()["error"]["code"]) == (403, "role_required")
        made = api(service, "POST", "/api/people", ann, body).json()
        assert (made["state"], made["added_by"]) == ("waiting", "ann@example.org")
        outside = api(service, "GET", "/api/approvals", made["token"])
        assert (outside.status_code, outside.json()["error"]["code"]) == (401, "invalid_api_key")
        confirm = "/api/people/eve@example.org/confirm"
        assert api(service, "POST", confirm, ann).json()["error"]["code"] == "role_required"
        assert api(service, "POST", confirm, admin_key(service)).json()["error"]["code"] == "role_required"
        assert api(service, "POST", confirm, bob).json()["state"] == "active"
        assert api(service, "GET", "/api/approvals", made["token"]).status_code == 200
        assert "an admin adds people" in refusal(service, "people", "add", "carl@example.org", "--role", "viewer")
        carl = json.loads(service.cli("people", "add", "carl@example.org", "--role", "viewer", "--token", ann, "--json"))
        assert carl["waits"]
        assert "another admin confirms" in refusal(service, "people", "confirm", "carl@example.org", "--token", ann)
        service.cli("people", "confirm", "carl@example.org", "--token", bob)
        assert api(service, "GET", "/api/me", carl["token"]).status_code == 200


def refusal(service: Running, *arguments: str) -> str:
    """What a command says that is refused."""
    with pytest.raises(AssertionError) as failure:
        service.cli(*arguments)
    return str(failure.value)
