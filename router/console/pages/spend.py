"""The place of the finance pages."""

from __future__ import annotations

from router.console.site import Answer, Asked, Handler, Page, Site
from router.console.view_models import Spend


async def show(_: Site, asked: Asked) -> Answer:
    """What there is so far: the reports of the command line."""
    return Page("spend.html", Spend(f"{asked.at:%Y-%m}"))


HANDLERS: dict[tuple[str, str], Handler] = {("GET", "/spend"): show}
