"""Browsers without script on the console of a running service: signing in, forms with what they must bring back."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx
from governing import token
from running import Running

PASSWORD = "quiet rivers carry 42 stones"


class Browser:
    """One browser: keeps its cookies, follows nothing by itself."""

    def __init__(self, service: Running) -> None:
        self._base = service.base_url + "/console"
        self.cookies = httpx.Cookies()

    def get(self, path: str) -> httpx.Response:
        """A page."""
        return self._send("GET", path)

    def post(
        self, path: str, fields: dict[str, str] | None = None, *, page: str = "/account", form: str | None = None, **headers: str
    ) -> httpx.Response:
        """A form as it was loaded from `page`, sent to `path`."""
        brought = self.form(page) if form is None else form
        return self._send("POST", path, {"form": brought, **(fields or {})}, headers)

    def _send(
        self, method: str, path: str, fields: dict[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        told = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        with httpx.Client(cookies=self.cookies, timeout=30) as client:
            answer = client.request(method, self._base + path, data=fields, headers=told)
            self.cookies = client.cookies
        return answer

    def form(self, page: str) -> str:
        """What the forms of a page bring back."""
        found = re.search(r'name="form" value="([^"]*)"', self.get(page).text)
        return found[1] if found is not None else ""

    def sign_in(self, email: str, password: str) -> httpx.Response:
        """Send the sign-in form."""
        return self.post("/sign-in", {"email": email, "password": password}, page="/sign-in")


def signed_in(service: Running, email: str, *roles: str, password: str = PASSWORD) -> Browser:
    """The browser of a new person who has chosen a password."""
    first = token(service, email, *roles)
    browser = Browser(service)
    answer = browser.sign_in(email, first)
    assert answer.headers["location"] == "/console/password", answer.text
    chosen = browser.post("/password", {"new": password, "again": password}, page="/password")
    assert chosen.headers["location"] == "/console/", chosen.text
    return browser
