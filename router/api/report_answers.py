"""What `/api/reports` answers: each report read from the ledger by the parameters of the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from fastapi.responses import Response

from router.api.reports import Ledger, Prices
from router.errors import Refused
from router.reports import analysis, anomalies, movers, question, requests, savings, spend
from router.reports.question import Misread

PERIOD = ("period", "since", "until", "format")
TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}

Given = Sequence[tuple[str, str]]


class Asking(msgspec.Struct, frozen=True):
    """One report that is asked for: by which parameters, from which ledger, when, and in which form."""

    ledger: Ledger
    parameters: Mapping[str, str]
    where: Sequence[str]
    now: datetime
    zone: ZoneInfo
    form: str
    prices: Prices

    def question(self, by: str = "") -> question.Question:
        """The question, by these dimensions where the parameters name none. Raises Misread."""
        given = self.parameters
        return question.asked(
            self.now,
            self.zone,
            by=given.get("by", by),
            where=self.where,
            period=given.get("period"),
            since=given.get("since"),
            until=given.get("until"),
        )


def answered(
    ledger: Ledger, prices: Prices, name: str, given: Given, accept: str, now: datetime, request_id: str | None = None
) -> Response:
    """The answer to a request for a report, in the form that it asks for (`format`, else the Accept header, else JSON). Raises Refused."""
    try:
        if request_id is not None:
            parameters, _ = question.parameters(given, ("format",))
            return _response(_one(ledger, request_id, _form(parameters, accept)), _form(parameters, accept))
        known, report = REPORTS[name]
        parameters, where = question.parameters(given, (*known, *PERIOD))
        form = _form(parameters, accept)
        return _response(report(Asking(ledger, parameters, where, now, ledger.zone(), form, prices)), form)
    except Misread as misread:
        raise Refused("invalid_request", f"`{misread.parameter}`: {misread}", param=misread.parameter) from None


def _form(parameters: Mapping[str, str], accept: str) -> str:
    form = parameters.get("format", "csv" if "text/csv" in accept.lower() else "json")
    if form not in TYPES:
        raise Misread("format", f"a report is given as {' or '.join(TYPES)}, not `{form[:40]}`")
    return form


def _response(text: str, form: str) -> Response:
    return Response(text, media_type=TYPES[form])


def _spend(asking: Asking) -> str:
    what = asking.question("owner,model")
    return spend.render(asking.ledger.spend(what.by, what.since, what.until, what.where), asking.form)


def _requests(asking: Asking) -> str:
    what = asking.question()
    after, limit = question.page(asking.parameters.get("after"), asking.parameters.get("limit"))
    return requests.render(asking.ledger.bookings(what.where, what.since, what.until, after, limit), asking.form)


def _movers(asking: Asking) -> str:
    most = question.at_most(asking.parameters.get("limit"), analysis.MOST)
    return movers.render(
        analysis.movers_of(asking.ledger.spend, asking.question("owner"), asking.now, asking.zone, most), asking.form
    )


def _anomalies(asking: Asking) -> str:
    most = question.at_most(asking.parameters.get("limit"), analysis.MOST)
    least = question.amount("least_usd", asking.parameters.get("least_usd"), anomalies.LEAST_NANO)
    what = asking.question("owner")
    return anomalies.render(analysis.anomalies_of(asking.ledger.spend, what, asking.now, asking.zone, most, least), asking.form)


def _savings(asking: Asking) -> str:
    rate = asking.parameters.get("router_usd_per_hour")
    nano = None if rate is None else question.amount("router_usd_per_hour", rate, 0)
    prices = asking.prices
    report = analysis.savings_of(asking.ledger, asking.question("rule"), asking.now, prices.rules(), prices.known, nano)
    return savings.render(report, asking.form)


def _one(ledger: Ledger, request_id: str, form: str) -> str:
    found = ledger.request(request_id)
    if found is None:
        raise Refused("not_found", "no request of this id is in the ledger; it may not be written yet")
    return requests.render_one(*found, form)


REPORTS: dict[str, tuple[tuple[str, ...], Callable[[Asking], str]]] = {
    "spend": (("by",), _spend),
    "requests": (("after", "limit"), _requests),
    "movers": (("by", "limit"), _movers),
    "savings": (("by", "router_usd_per_hour"), _savings),
    "anomalies": (("by", "limit", "least_usd"), _anomalies),
}
"""Each report with the parameters that it has beyond a period and what it is narrowed to."""
