"""`router serve`, and the processes it starts."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from router.handshake import await_go
from router.settings import Settings, load_settings
from router.telemetry import configure_logging

if TYPE_CHECKING:
    from router.bootstrap import Prepared

NICENESS = 5
"""Of the drainer: the records can wait for a moment, the requests cannot."""


@contextmanager
def many_imports() -> Iterator[None]:
    """Nothing that an import makes, or what is made ready once, is garbage: looking for some would take a fifth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@click.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 chooses a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Directory of the embedded stores.")
@click.option(
    "--rules",
    "rules_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Rule files (seed, or proposal), or a starting set's name (seed).",
)
@click.option("--tls-cert", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="PEM certificate chain.")
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="PEM private key.")
def serve(**options: object) -> None:
    """Serve, with a private Redis and SQLite unless REDIS_URL and DATABASE_URL name others."""
    from router.storage.embedded_redis import RedisNotStarted
    from router.supervisor import PortTaken, supervise

    settings = load_settings(**options)
    configure_logging(settings.log_level, settings.log_format)
    try:
        sys.exit(asyncio.run(supervise(settings, prepare)))
    except (PortTaken, RedisNotStarted) as error:
        raise click.ClickException(str(error)) from None


def prepare(settings: Settings, redis_url: str) -> Prepared:
    """See bootstrap.prepare. Imported here because the workers can start their own imports before the supervisor does these."""
    with many_imports():
        from router import bootstrap
    try:
        return bootstrap.prepare(settings, redis_url)
    except bootstrap.BootstrapError as error:
        raise click.ClickException(str(error)) from None


@click.command(hidden=True)
def work() -> None:
    """One worker; started by `serve`."""
    with many_imports():
        from classifiers import apart
        from router.app import run_worker

        apart.prepare()
    await_go()
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    run_worker(settings)


@click.command(hidden=True)
def drain() -> None:
    """The process that moves records from Redis to SQL and reaps; started by `serve`."""
    os.nice(NICENESS)
    with many_imports():
        from router.background import run_background
    await_go()
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(run_background(settings))


@click.command()
@click.option("--url", help="Where the service is; by default where the settings say.")
def health(url: str | None) -> None:
    """Exit 0 where the service is ready, else say why not and exit 1."""
    target = (url or _local(load_settings())).rstrip("/") + "/readyz"
    # The certificate is for the name that clients use, and this asks at the address that it listens on, past any proxy.
    trust = ssl.create_default_context() if url else ssl._create_unverified_context()  # noqa: S323
    proxies = urllib.request.ProxyHandler(None if url else {})
    opener = urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(target, timeout=3) as answer:
            click.echo(answer.read().decode())
    except urllib.error.HTTPError as error:
        click.echo(error.read().decode())
        sys.exit(1)
    except OSError as error:
        raise click.ClickException(f"no answer at {target}: {error}") from None


def _local(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}"
