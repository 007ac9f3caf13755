"""`reports.yaml` to deliveries, every fault with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping

from routing_rules.deliveries import EVERY, Bucket, Delivery
from routing_rules.faults import Fault
from routing_rules.reading import Entry, open_file

REPORTS = "reports.yaml"
FORMATS = ("csv", "json", "parquet", "xlsx")
FOCUS_FORMATS = ("csv", "parquet")
FOCUS_VERSIONS = ("1.2", "1.4")
GRAINS = ("request", "day")
LAST_HOUR = 23
REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
ADDRESS = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+/?")


def deliveries_of(files: Mapping[str, str]) -> tuple[Delivery, ...]:
    """The deliveries of rule files that have been loaded before; none where there is no such file."""
    return read_deliveries(files[REPORTS], []) if REPORTS in files else ()


def read_deliveries(text: str, faults: list[Fault]) -> tuple[Delivery, ...]:
    """What the file says; what is wrong with it is added to the faults."""
    top = open_file(REPORTS, text, faults)
    found: dict[str, Delivery] = {}
    for entry in top.entries("deliveries"):
        delivery = _delivery(entry, found)
        found[delivery.id] = delivery
        entry.close()
    top.close()
    return tuple(found.values())


def _delivery(entry: Entry, taken: Mapping[str, Delivery]) -> Delivery:
    id = entry.identifier(taken)
    form = entry.word("format", FORMATS)
    focus = entry.word("focus", FOCUS_VERSIONS, "")
    if focus and form not in FOCUS_FORMATS:
        entry.fault("format", "wrong_type", f"FOCUS is delivered as {' or '.join(f'`{each}`' for each in FOCUS_FORMATS)}")
    grain = entry.word("grain", GRAINS, GRAINS[0])
    if grain != GRAINS[0] and not focus:
        entry.fault("grain", "wrong_type", "only FOCUS is delivered by day", "name a version under `focus`")
    hour = entry.maybe_integer("hour") or 0
    if hour > LAST_HOUR:
        entry.fault("hour", "wrong_type", f"an hour is a number from 0 to {LAST_HOUR}")
    where = entry.words("where", default=())
    if any("=" not in each for each in where):
        entry.fault("where", "wrong_type", "expected texts such as `team=search` under `where`")
    directory = entry.text("directory", "")
    bucket = _bucket(entry.entry("s3"))
    if bool(directory) == (bucket is not None):
        entry.fault(None, "missing_key", "a delivery goes to a `directory` or to `s3`, one of them")
    if directory and not directory.startswith("/"):
        entry.fault("directory", "wrong_type", "expected an absolute path such as `/srv/finance` under `directory`")
    return Delivery(
        id=id,
        format=form,
        every=entry.word("every", EVERY),
        hour=min(hour, LAST_HOUR),
        focus=focus,
        grain=grain,
        where=where,
        directory=directory,
        bucket=bucket,
    )


def _bucket(entry: Entry | None) -> Bucket | None:
    if entry is None:
        return None
    name = entry.text("bucket")
    if not BUCKET.fullmatch(name):
        entry.fault("bucket", "wrong_type", "this is no name of a bucket")
    endpoint = entry.text("endpoint", "")
    if endpoint and not ADDRESS.fullmatch(endpoint):
        entry.fault("endpoint", "wrong_type", "expected an address such as `https://minio.example.org` under `endpoint`")
    keys = {key: entry.text(key, "") for key in ("access_key", "secret_key")}
    for key, value in keys.items():
        if value and not REFERENCE.fullmatch(value):
            entry.fault(
                key,
                "wrong_type",
                f"`{key}` names a variable of the environment, as in `env:EXPORT_KEY`; it is never the key itself",
            )
    if bool(keys["access_key"]) != bool(keys["secret_key"]):
        entry.fault(None, "missing_key", "`access_key` and `secret_key` are given together or not at all")
    bucket = Bucket(
        name=name,
        prefix=entry.text("prefix", "").strip("/"),
        endpoint=endpoint,
        region=entry.text("region", ""),
        **{key: value.removeprefix("env:") for key, value in keys.items()},
    )
    entry.close()
    return bucket
