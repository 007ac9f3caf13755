"""Reports that are delivered by themselves: what, how often and where to, as `reports.yaml` says it."""

from __future__ import annotations

import msgspec

DAY, WEEK, MONTH = "day", "week", "month"
EVERY = (DAY, WEEK, MONTH)


class Bucket(msgspec.Struct, frozen=True):
    """A bucket of an S3-compatible store. `access_key` and `secret_key` are names of environment variables, '' where the machine's own
    credentials are used; `endpoint` is '' at Amazon."""

    name: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """One report that is delivered once a day, week or month, after it has ended, at an hour of the reports' time zone.

    Where to: a `directory`, else a `bucket`. `where` are texts such as `team=search`.
    """

    id: str
    format: str
    every: str
    hour: int = 0
    focus: str = ""
    grain: str = "request"
    where: tuple[str, ...] = ()
    directory: str = ""
    bucket: Bucket | None = None
