"""Delivers reports: what is due at a moment, and how a file and its manifest come to a directory or an S3-compatible store."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from router.money import usd
from router.reports.exports.write import SUFFIXES, Form, Written, unfinished
from router.reports.spans import Span, span
from router.reports.spend import conditions
from routing_rules.deliveries import DAY, WEEK, Bucket, Delivery

ATTEMPTS = 4
LONGEST_WAIT_SECONDS = 8.0
CONNECT_SECONDS, READ_SECONDS = 5, 60
MANIFEST = ".manifest.json"
MOST_MISSED = 62
"""So many periods back at most, those are delivered that an outage had missed."""

WRITTEN_LATER = timedelta(minutes=1)
"""How long after its end records of a period may still have been written: before that none is due."""

NOTHING: Mapping[tuple[str, str], bool] = MappingProxyType({})


class NotDelivered(Exception):
    """A file did not get to where it should; the message says why, without any secret."""


class Due(msgspec.Struct, frozen=True):
    """A delivery of the period that ended last."""

    delivery: Delivery
    period: Span


class Manifest(msgspec.Struct, frozen=True):
    """What lies beside a delivered file: who reads it knows that the file is whole, and what it is worth."""

    delivery: str
    period: str
    since: datetime
    until: datetime
    format: str
    focus: str
    file: str
    rows: int
    total_nano_usd: int
    total_usd: str
    bytes: int
    sha256: str
    read_at: datetime


def due(
    deliveries: Sequence[Delivery], now: datetime, zone: ZoneInfo, known: Mapping[tuple[str, str], bool] = NOTHING
) -> list[Due]:
    """The last period of each delivery that is over by so much that its hour has come, and before it those that were missed: all since
    one was delivered or tried, and what failed and was not delivered since, of the last `MOST_MISSED`.

    `known` says of each (delivery, period) that was ever tried whether it was delivered.
    """
    found = []
    for delivery in deliveries:
        # An hour that a change of clocks leaves out comes with the next one there is.
        local = now.astimezone(zone) - (timedelta(hours=delivery.hour) or WRITTEN_LATER)
        period = last_period(delivery, local.date().isoformat(), now, zone)
        found += [Due(delivery, each) for each in (*_missed(delivery, period, now, zone, known), period)]
    return found


def _missed(delivery: Delivery, last: Span, now: datetime, zone: ZoneInfo, known: Mapping[tuple[str, str], bool]) -> list[Span]:
    """Those before the last one, the earliest first."""
    if not any(id == delivery.id for id, _ in known):
        return []  # a new delivery does not begin with the past
    before, period = [last], last
    for _ in range(MOST_MISSED):
        period = last_period(delivery, period.first.isoformat(), now, zone)
        before.append(period)
    states = [known.get((delivery.id, each.name)) for each in before]
    tried = [at for at, state in enumerate(states) if state is not None]
    # All since the last one delivered; where none was, since the first one tried.
    since = states.index(True) if True in states else max(tried, default=0)
    missed = [each for at, each in enumerate(before) if at and states[at] is not True and (at <= since or states[at] is False)]
    return missed[::-1]


def last_period(delivery: Delivery, today: str, now: datetime, zone: ZoneInfo) -> Span:
    """The last whole day, week or month before a day, by its own name (`2026-03-10`, `2026-W11`, `2026-03`)."""
    begins = span(today, now, zone).first
    if delivery.every == DAY:
        return span((begins - timedelta(days=1)).isoformat(), now, zone)
    if delivery.every == WEEK:
        year, week, _ = (begins - timedelta(days=7)).isocalendar()
        return span(f"{year}-W{week:02}", now, zone)
    return span((begins.replace(day=1) - timedelta(days=1)).isoformat()[:7], now, zone)


def form_of(delivery: Delivery) -> Form:
    """What is to be exported."""
    return Form(delivery.format, delivery.focus, delivery.grain)


def narrowed(delivery: Delivery) -> dict[str, tuple[str, ...]]:
    """What of the ledger. Raises NotDelivered where that cannot be said."""
    try:
        return conditions(delivery.where)
    except ValueError as error:
        raise NotDelivered(str(error)) from None


def file_name(due: Due) -> str:
    """Where below its destination a file lies; the same each time, so that delivering again replaces it."""
    return f"{due.delivery.id}/{due.period.name}.{SUFFIXES[due.delivery.format]}"


def manifest_of(due: Due, written: Written, read_at: datetime) -> Manifest:
    """What is said of a file."""
    return Manifest(
        delivery=due.delivery.id,
        period=due.period.name,
        since=due.period.since,
        until=due.period.until,
        format=due.delivery.format,
        focus=due.delivery.focus,
        file=Path(file_name(due)).name,
        rows=written.rows,
        total_nano_usd=written.total_nano,
        total_usd=usd(written.total_nano),
        bytes=written.bytes,
        sha256=written.sha256,
        read_at=read_at,
    )


class Destination(Protocol):
    """Where files go. What is put there under a name that is taken replaces what was there, at once and whole."""

    def put(self, name: str, file: Path) -> None:
        """Raises NotDelivered where it cannot be reached, after some attempts."""
        ...


def destination(delivery: Delivery, environment: Mapping[str, str]) -> Destination:
    """Where a delivery goes. Raises NotDelivered where a variable with a credential is not set, or a store is described wrongly."""
    if delivery.bucket is None:
        return Directory(Path(delivery.directory))
    return Store(delivery.bucket, environment)


def deliver(to: Destination, name: str, file: Path, manifest: Manifest) -> None:
    """Put a file, then its manifest: where that is, the file is whole. Raises NotDelivered."""
    to.put(name, file)
    with tempfile.TemporaryDirectory(prefix="manifest-") as folder:
        path = Path(folder) / "manifest"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        to.put(name + MANIFEST, path)


class Directory:
    """A directory, perhaps of another machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, file: Path) -> None:
        """Copy the file beside where it belongs, then give it its name."""
        try:
            for attempt in _attempts(OSError):
                with attempt:
                    self._copy(self._root / name, file)
        except OSError as error:
            raise NotDelivered(f"the directory cannot be written: {error.strerror or type(error).__name__}") from None

    def _copy(self, path: Path, file: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = unfinished(path)
        try:
            with part.open("xb") as to, file.open("rb") as source:
                shutil.copyfileobj(source, to)
                to.flush()
                os.fsync(to.fileno())
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


class Store:
    """A bucket of an S3-compatible store, in which an object is there only once it is whole."""

    def __init__(self, bucket: Bucket, environment: Mapping[str, str]) -> None:
        credentials = {}
        for argument, name in (("aws_access_key_id", bucket.access_key), ("aws_secret_access_key", bucket.secret_key)):
            if name:
                if not environment.get(name):
                    raise NotDelivered(f"the variable {name} is not set")
                credentials[argument] = environment[name]
        # Imported only now: it takes a second and tens of megabytes.
        boto: Any = import_module("boto3")
        botocore: Any = import_module("botocore.exceptions")
        config: Any = import_module("botocore.config")
        self._failures: tuple[type[Exception], ...] = (
            botocore.BotoCoreError,
            botocore.ClientError,
            import_module("boto3.exceptions").Boto3Error,
        )
        self._bucket = bucket
        try:
            self._client = boto.client(
                "s3",
                endpoint_url=bucket.endpoint or None,
                region_name=bucket.region or ("us-east-1" if bucket.endpoint else None),
                config=config.Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"max_attempts": 1}),
                **credentials,
            )
        except (ValueError, *self._failures) as error:
            # What it says may hold the endpoint, and that a password.
            raise NotDelivered(f"the store's endpoint, region or profile is not valid ({type(error).__name__})") from None

    def put(self, name: str, file: Path) -> None:
        """Upload the file, large ones in parts."""
        key = f"{self._bucket.prefix}/{name}" if self._bucket.prefix else name
        try:
            for attempt in _attempts(*self._failures):
                with attempt:
                    self._client.upload_file(str(file), self._bucket.name, key)
        except self._failures as error:
            code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
            raise NotDelivered(f"the store does not take it: {str(code)[:60]}") from None


def _attempts(*failures: type[Exception]) -> Retrying:
    return Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=0.5, max=LONGEST_WAIT_SECONDS),
        retry=retry_if_exception_type(failures),
        reraise=True,
    )
