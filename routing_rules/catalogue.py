"""Models, deployments, tools, apps and purposes as frozen values: what there is, who answers for it, how far it is cleared."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime
from operator import itemgetter

import msgspec

from routing_rules.combinations import Combination
from routing_rules.task import Feature
from routing_rules.vocabulary import (
    BusinessImpact,
    Capability,
    LatencyClass,
    Sensitivity,
)


class Price(msgspec.Struct, frozen=True):
    """Prices in nano-USD per million tokens ($0.15 per million is 150_000_000). None where no price is known.

    `source` says where the figures come from (`catalogue`, `litellm`, `internal`, `assumed`). `tools` are hosted tools, in nano-USD per
    million calls. `above`: what holds for the whole request once its input has more than so many tokens, fewest first. `service_tiers`:
    what holds where the provider says that it served under another tier than its standard one (`batch`, `flex`, `priority`). `at_list`:
    the price before discounts; None: this is it. `book`: the version of the price book that gave it, '' where none did.
    """

    input: int | None = None
    cached_input: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None  # None: billed as output
    source: str = "catalogue"
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_cached_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    tools: dict[str, int] = {}
    above: tuple[tuple[int, Price], ...] = ()
    service_tiers: dict[str, Price] = {}
    at_list: Price | None = None
    book: str = ""

    @property
    def known(self) -> bool:
        """Whether both directions have a price, so that a worst case can be held."""
        return self.input is not None and self.output is not None

    def of(self, token_class: str) -> int | None:
        """The price of a class of tokens. One without a price of its own is billed as a class that costs no less, or, where providers
        ask no more for it, as its parent; where it may cost more than any class with a price, it is unpriced."""
        own: int | None = getattr(self, token_class)
        if own is not None or token_class not in BILLED_AS:
            return own
        if token_class in MORE_THAN and getattr(self, MORE_THAN[token_class]) is not None:
            return None
        return self.of(BILLED_AS[token_class])

    def applied(self, input_tokens: int, service_tier: str) -> Price:
        """What holds for a request with so much input, served under this tier. A tier that costs more and has no price is unpriced."""
        rates = self
        if service_tier and (self.service_tiers or service_tier in DEARER_TIERS):
            rates = self.service_tiers.get(service_tier) or (Price(source=self.source) if service_tier in DEARER_TIERS else self)
        for tokens, larger in reversed(rates.above):
            if input_tokens > tokens:
                return larger
        return rates


BILLED_AS = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "audio_cached_input": "audio_input",
    "image_input": "input",
    "reasoning": "output",
}
"""The class by whose price one is billed that has none of its own. Audio, and images that are made, cost more than text: they have none."""

MORE_THAN = {"cache_write_1h": "cache_write"}
"""The class whose price, where there is one, says that another one costs more."""

DEARER_TIERS = frozenset({"priority"})
"""Service tiers that cost more than the standard one: what they cost is never taken from it."""


SEARCHING_MODELS = ("search-preview", "search-api")
"""What the names of models have in common that search the web for every answer, whether or not a request says so."""


def searches_by_itself(model: str) -> bool:
    """Whether a model of this name searches the web for every answer: who may have it must be granted `web_search`."""
    return any(word in model for word in SEARCHING_MODELS)


class Grace(msgspec.Struct, frozen=True):
    """That two people let something count for some days after its review was due: until when (inclusive), and who they are."""

    until: date
    approved_by: tuple[str, ...]


class Review(msgspec.Struct, frozen=True):
    """Who looked at a deployment last, and until when that look counts: a grace makes it longer."""

    reviewer: str
    expires: date
    grace: Grace | None = None

    @property
    def counts_until(self) -> date:
        """The last day on which the review counts."""
        return self.expires if self.grace is None else self.grace.until


class Deployment(msgspec.Struct, frozen=True):
    """One callable endpoint: provider, model, region, terms, price and clearance.

    `provider` is `openai_compatible` (bytes through), `simulated`, or a litellm provider name. `api_key` is a
    reference (`env:NAME`), never a secret. `model_names` are the names by which apps wish for it. `allowed_fields` are
    request fields unknown to OpenAI that this deployment takes. `context_window` is in tokens. `price` is what models.yaml says,
    `prices` what holds instead by the price book, each from a moment on: `price_at`.
    """

    id: str
    provider: str
    model: str
    tier: str
    clearance: Sensitivity
    region: str = "unspecified"
    base_url: str | None = None
    api_key: str | None = None
    params: dict[str, str] = {}
    model_names: tuple[str, ...] = ()
    features: frozenset[Feature] = frozenset()
    allowed_fields: frozenset[str] = frozenset()
    context_window: int = 128_000
    max_output_tokens: int = 16_384
    reasoning_model: bool = False  # takes max_completion_tokens and reasoning_effort, not temperature or stop
    fixed_params: dict[str, str | int | float | bool] = {}
    price: Price = Price()
    internal: bool = False  # ours: may receive the entitlement token
    capability_review: Review | None = None
    access_review: Review | None = None
    prices: tuple[tuple[datetime, Price], ...] = ()

    def price_at(self, moment: datetime) -> Price:
        """What it costs at a moment."""
        if not self.prices:
            return self.price
        return self.prices[max(bisect_right(self.prices, moment, key=SINCE) - 1, 0)][1]


SINCE = itemgetter(0)


class Observing(msgspec.Struct, frozen=True):
    """That an app is only watched for a while: who answers for that, and its first and last day (UTC)."""

    owner: str
    start: date
    end: date


class App(msgspec.Struct, frozen=True):
    """A registered caller. `clearance` is the highest sensitivity it may send, `ceiling` the widest entitlement set it may get.

    `observing` is set where the mode is `observe`: it holds on these days only, before and after them the app is held to the rules.
    `provider_state` are ids of files, vector stores and containers at providers that it may name without having been given them (`*`: any).
    """

    id: str
    owner: str
    team: str
    cost_center: str
    clearance: Sensitivity
    ceiling: str
    purposes: tuple[str, ...]
    mode: str = "enforce"  # enforce | observe
    observing: Observing | None = None
    provider_state: tuple[str, ...] = ()

    def observed_on(self, day: date) -> bool:
        """Whether the app is only watched on this day."""
        return self.observing is not None and self.observing.start <= day <= self.observing.end


class Purpose(msgspec.Struct, frozen=True):
    """A governed reason of use."""

    id: str
    owner: str
    business_impact: BusinessImpact = BusinessImpact.NORMAL
    latency_class: LatencyClass = LatencyClass.INTERACTIVE


class Tool(msgspec.Struct, frozen=True):
    """A registered tool: how it is recognised, what it can do, who answers for it.

    `functions` are globs over function names, `hosted` hosted types (globs), `servers` MCP server labels.

    A label is the app's own word; `server_urls` are the addresses (`https://…`, or `connector:ID`) that a server of this label may have,
    and where there are any, no other is meant by it. `pinned` holds the tools of the server that this entry covers, by name, each with
    the hash of what it was when an owner looked at it (`routing_rules.server_lists`); none: the whole server, whatever it offers.
    `internal`: the server is ours and gets the entitlement token.
    """

    id: str
    owner: str
    capabilities: frozenset[Capability]
    functions: tuple[str, ...] = ()
    hosted: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    highest_read: Sensitivity = Sensitivity.INTERNAL
    approval_boundary: str = "none"  # none | first_use | every_call
    arguments_schema: str | None = None
    destination_arguments: tuple[str, ...] = ()
    server_urls: tuple[str, ...] = ()
    pinned: tuple[tuple[str, str], ...] = ()
    internal: bool = False


class EntitlementSet(msgspec.Struct, frozen=True):
    """Tools that may be granted together, with owner, purpose, approver and the date by which it must be reviewed.

    `prohibited` and `step_ups` are combinations of capabilities that hold for its sessions beside the shipped ones.
    `allowed_destinations` vouch for where calls go: values, `@domain` for every address of a domain, URLs that end in `/` for all below.
    """

    id: str
    owner: str
    business_purpose: str
    approver: str
    review_by: date
    tools: frozenset[str]  # tool ids
    prohibited: tuple[Combination, ...] = ()
    step_ups: tuple[Combination, ...] = ()
    allowed_destinations: tuple[str, ...] = ()
    grace: Grace | None = None

    @property
    def granted_until(self) -> date:
        """The last day on which its tools are granted: that of its review, or of the grace that it was given."""
        return self.review_by if self.grace is None else self.grace.until
