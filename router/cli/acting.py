"""Who acts on the command line: the person behind a token, or whoever is logged in on this machine."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

import click
from sqlalchemy import Engine

from router.cli.data import actor
from router.clock import utc_now
from router.governance.people import ACTIVE, state_of
from router.governance.rules_values import Actor
from router.storage.sql.people import load_people

C = TypeVar("C", bound=Callable[..., None])

TOKEN = "ROUTER_TOKEN"  # noqa: S105 - the name of a variable


def with_token(command: C) -> C:
    """Add the option by which somebody says who they are."""
    told = "Of whoever acts. Under `single` it may be left out."
    return click.option("--token", envvar=TOKEN, show_envvar=True, help=told)(command)


def acting(engine: Engine, token: str | None, via: str = "cli") -> Actor:
    """The person behind a token; without one, whoever is logged in on this machine."""
    if token is None:
        return Actor(f"{actor()} (command line)", via=via)
    person = load_people(engine).get(sha256(token.strip().encode()).hexdigest())
    if person is None or state_of(person, utc_now()) != ACTIVE:
        raise click.ClickException("--token: nobody signs in with this token")
    return Actor(person.email, person, via)
