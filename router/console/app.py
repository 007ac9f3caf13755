"""The console as an application below `/console`: every request passes one gate, every answer carries the same headers."""

from __future__ import annotations

import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from importlib.resources import files
from secrets import token_urlsafe
from urllib.parse import parse_qsl, quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from router import telemetry
from router.console.access import BASE, CODE, ENROL, IN, OPEN, PASSWORD, ROUTES, Group, navigation
from router.console.pages import HANDLERS
from router.console.shown import FILTERS
from router.console.site import Answer, Asked, Handler, Move, Page, Raw, Sent, Site, in_sql
from router.console.view_models import Chrome, Failure
from router.errors import Refused, RouterError
from router.governance.people import state_of

MOST_BYTES = 1024 * 1024
MOST_FIELDS = 5_000
MOST_UPLOAD_FIELDS = 10
UPLOADS = frozenset({"/rules/workbook"})
"""Where a form may bring a file."""

FORM = "form"
"""The field by which a form brings back what the page gave it."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

STATIC = {"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}

NEXT_STEP = {PASSWORD: "/password", CODE: "/code", ENROL: "/second-factor", IN: "/"}


def create_console(site: Site) -> Starlette:
    """The application, to be mounted at `/console`."""
    desk = Desk(site)
    routes = [Route(path, desk.bound(method, path, handler), methods=[method]) for (method, path), handler in HANDLERS.items()]
    routes.append(Route("/static/{name}", desk.bound("GET", "/static/{name}", _static), methods=["GET"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: desk.unknown, Exception: desk.failed})


class Desk:
    """Receives every request: finds the visit, checks the door and the form, renders the answer."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._cookie = site.cookie
        self._templates = Environment(
            loader=PackageLoader("router.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters |= FILTERS
        self._templates.globals["base"] = BASE

    def bound(self, method: str, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of one route."""

        async def endpoint(request: Request) -> Response:
            asked = Asked(method, path, self._site.clock())
            try:
                asked = await self._asked(request, method, path)
                admitted = await self._admitted(asked, request)
                if isinstance(admitted, Response):
                    return admitted
                asked = admitted
                return self._response(asked, await handler(self._site, asked))
            except RouterError as error:
                return self._refusal(asked, error)
            except ClientDisconnect:
                return Response(status_code=400)

        return endpoint

    async def unknown(self, request: Request, error: Exception) -> Response:
        """A path that is none, or a method that it does not take: told to nobody but those who are signed in."""
        asked = Asked(request.method, "", self._site.clock(), cookies=request.cookies, here=request.url.path)
        try:
            admitted = await self._admitted(asked, request)
        except RouterError as refusal:
            return self._refusal(asked, refusal)
        if isinstance(admitted, Response):
            return admitted
        code = "method_not_allowed" if isinstance(error, HTTPException) and error.status_code == 405 else "unknown_path"
        return self._refusal(admitted, Refused(code, "there is no such page"))

    async def failed(self, request: Request, error: Exception) -> Response:
        """Something of ours went wrong: the log knows what."""
        telemetry.logger().error("console_failed", path=request.url.path[:100], error=type(error).__name__)
        asked = Asked(request.method, "", self._site.clock())
        return self._refusal(asked, RouterError("internal_error", "something went wrong here; the log says what"))

    async def _asked(self, request: Request, method: str, path: str) -> Asked:
        pairs: Sequence[tuple[str, str]] = ()
        upload = b""
        if method == "POST" and path in UPLOADS and _kind(request) == "multipart/form-data":
            pairs, upload = await _parts(request)
        elif method == "POST":
            body = await _body(request)
            pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        lists: dict[str, list[str]] = {}
        for name, value in pairs:
            lists.setdefault(name, []).append(value)
        here = BASE + request.scope["path"].removeprefix(BASE) + (f"?{request.url.query}" if request.url.query else "")
        return Asked(
            method,
            path,
            self._site.clock(),
            names=dict(request.path_params),
            query=dict(request.query_params),
            pairs=request.query_params.multi_items(),
            form={name: values[-1] for name, values in lists.items()},
            lists=lists,
            upload=upload,
            cookies=request.cookies,
            here=here,
        )

    async def _admitted(self, asked: Asked, request: Request) -> Asked | Response:
        """The request of somebody who may make it, or what they are answered instead. Raises Refused: `role_required`,
        `invalid_request` for a form that is not ours."""
        door = ROUTES.get((asked.method, asked.path))
        if asked.method != "GET" and _is_from_elsewhere(request):
            raise Refused("invalid_request", "this form was sent by another site")
        if door is OPEN and asked.path.startswith("/static/"):
            return asked
        token = asked.cookies.get(self._cookie, "")
        visit = await self._site.visits.find(token, asked.at) if token else None
        person = self._site.directory.person_of(visit.email) if visit is not None else None
        if visit is not None and (person is None or person.id != visit.person or state_of(person, asked.at) != "active"):
            visit = person = None
        governance = await in_sql(self._site.mode) if visit is not None and visit.step == IN else ""
        asked = replace(asked, token=token, signed_in=visit, who=person, governance=governance)
        if asked.method == "POST":
            expected = visit.form if visit is not None else self._form_of(asked.cookies.get(self._cookie + "-form", ""))
            if not hmac.compare_digest(asked.form.get(FORM, "").encode(), expected.encode()):
                if visit is None and (door is None or not door.open):
                    return self._sign_in(asked)
                raise Refused("invalid_request", "this form is out of date: go back, load the page again and send it once more")
        if door is not None and door.open:
            return asked
        if visit is None or person is None:
            return self._sign_in(asked)
        if door is not None and visit.step not in door.steps:
            return self._response(asked, Move(NEXT_STEP[visit.step]))
        if visit.step == IN and asked.path and (door is None or not person.holds(*door.roles)):
            needed = " or ".join(sorted(door.roles)) if door is not None else "a role that nobody has"
            raise Refused("role_required", f"this page asks for the role {needed}")
        return asked

    def _sign_in(self, asked: Asked) -> Response:
        if asked.method != "GET":
            return self._refusal(asked, Refused("invalid_api_key", "your visit has ended: sign in and do it again"))
        onward = f"?next={quote(asked.here)}" if asked.here not in ("", BASE, f"{BASE}/") else ""
        return self._response(asked, Move(f"/sign-in{onward}"))

    def _form_of(self, nonce: str) -> str:
        """What the form of somebody who is not signed in must bring back: made of what only their browser and we know."""
        return (
            blake2b(nonce.encode(), key=self._site.secret[:64], person=b"console-form", digest_size=32).hexdigest()
            if nonce
            else token_urlsafe()
        )

    def _response(self, asked: Asked, answer: Answer) -> Response:
        headers = dict(HEADERS)
        if self._site.secure:
            headers["strict-transport-security"] = "max-age=31536000"
        if isinstance(answer, Sent):
            answer.response.headers.update(headers)
            return answer.response
        if isinstance(answer, Raw):
            if answer.cached:
                headers["cache-control"] = "public, max-age=600"
            if answer.name:
                headers["content-disposition"] = f'attachment; filename="{answer.name}"'
            return Response(answer.body, headers={**headers, "content-type": answer.kind})
        if isinstance(answer, Move):
            to = answer.to if answer.to.startswith(("http://", "https://")) else BASE + answer.to
            response = Response(status_code=303, headers={**headers, "location": to})
            for name, value in answer.cookies.items():
                self._set(response, f"{self._cookie}-{name}", value)
            if answer.token is not None:
                self._set(response, self._cookie, answer.token)
            return response
        if answer.moved is not None:
            asked = replace(asked, signed_in=answer.moved)
        nonce = ""
        if asked.signed_in is None:
            nonce = asked.cookies.get(self._cookie + "-form", "") or token_urlsafe(24)
        form = asked.signed_in.form if asked.signed_in is not None else self._form_of(nonce)
        html = self._templates.get_template(answer.template).render(page=answer.model, chrome=self._chrome(asked, form))
        response = Response(html, answer.status, headers={**headers, "content-type": "text/html; charset=utf-8"})
        if nonce:
            self._set(response, self._cookie + "-form", nonce)
        if answer.token is not None:
            self._set(response, self._cookie, answer.token)
        return response

    def _set(self, response: Response, name: str, value: str) -> None:
        if value:
            response.set_cookie(name, value, path=BASE, secure=self._site.secure, httponly=True, samesite="lax")
        else:
            response.delete_cookie(name, path=BASE, secure=self._site.secure, httponly=True, samesite="lax")

    def _chrome(self, asked: Asked, form: str) -> Chrome:
        visit, person = asked.signed_in, asked.who
        done = visit is not None and visit.step == IN and person is not None
        groups: tuple[Group, ...] = navigation(person.roles) if done and person is not None else ()
        paths = [item.path for group in groups for item in group.items]
        revision = ""
        if done:
            try:
                revision = self._site.directory.rules().revision
            except RouterError:
                revision = "none"
        return Chrome(
            navigation=groups,
            here=max((path for path in paths if f"{asked.path}/".startswith(f"{path}/")), key=len, default=asked.path),
            who=person.email if person is not None else "",
            roles=tuple(role.value for role in person.roles) if person is not None else (),
            governance=asked.governance,
            revision=revision,
            form=form,
            signed_in=done,
        )

    def _refusal(self, asked: Asked, error: RouterError) -> Response:
        model = Failure(status=error.row.status, code=error.code, message=error.message, sign_in=error.code == "invalid_api_key")
        return self._response(asked, Page("failure.html", model, error.row.status))


async def _body(request: Request) -> bytes:
    if _kind(request) not in ("application/x-www-form-urlencoded", ""):
        raise Refused("invalid_request", "a form is sent as `application/x-www-form-urlencoded`")
    return b"".join([piece async for piece in _bounded(request)])


async def _parts(request: Request) -> tuple[list[tuple[str, str]], bytes]:
    """The fields of a form that brings a file, and that file."""
    try:
        form = await MultiPartParser(request.headers, _bounded(request), max_files=1, max_fields=MOST_UPLOAD_FIELDS).parse()
    except (MultiPartException, KeyError, UnicodeError):  # KeyError: without a boundary
        raise Refused("invalid_request", "this is no form with one file") from None
    try:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return fields, await files[0].read() if files else b""
    finally:
        await form.close()


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BYTES:
            raise Refused("request_too_large", f"the form is larger than {MOST_BYTES} bytes")
        yield piece


def _is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that a form was sent by a page of another site; an old one says so by its origin only."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _static(_: Site, asked: Asked) -> Answer:
    kind = STATIC.get(asked.names["name"])
    if kind is None:
        raise Refused("unknown_path", "there is no such file")
    return Raw(_read(asked.names["name"]), kind, cached=True)


def _read(name: str, _known: dict[str, bytes] = {}) -> bytes:  # noqa: B006 - three small files, read once
    if name not in _known:
        _known[name] = (files("router.console") / "static" / name).read_bytes()
    return _known[name]
