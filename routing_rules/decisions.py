"""What a decision can be: Permit, Hold or Refuse, each with the rules that made it; and what tools were granted."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from routing_rules.budgets import CallLimits, SessionBudget
from routing_rules.vocabulary import Sensitivity


class Obligation(StrEnum):
    """What a Permit requires of the stages. One that no stage can carry out refuses the request."""

    MASK = "mask"
    SCREEN_OUTPUT = "screen_output"
    NO_STORE = "no_store"
    CAPTURE_CONTENT = "capture_content"
    DRAIN = "drain"  # on disconnect, read the provider's answer to its end
    CANCEL = "cancel"  # on disconnect, end the call at the provider
    FULL_AUDIT = "full_audit"
    NOTIFY = "notify"


CARRIED_OUT = frozenset({Obligation.DRAIN, Obligation.CANCEL, Obligation.NO_STORE, Obligation.MASK, Obligation.SCREEN_OUTPUT})
"""The obligations that a stage carries out today; a rule that orders another refuses."""


class Permit(msgspec.Struct, frozen=True, tag="permit"):
    """The task may be forwarded, to these deployments only, in this order.

    `sensitivity` is what the candidates were found cleared for; a permit that does not say reaches only those cleared for the highest level.
    `mask` names the categories and kinds of finding that are replaced before anything is forwarded. What is left is then decided
    once more, and only that decision's candidates count; so a permit that orders masking may have none.
    `would_refuse` is the code with which the task of an app that is only watched would have been refused or held, `would_rule` by which rule.
    """

    rule: str
    revision: str
    tier: str
    candidates: tuple[str, ...]
    entitlement_set: str
    budget: SessionBudget
    limits: CallLimits
    obligations: frozenset[Obligation] = frozenset()
    matched: tuple[str, ...] = ()
    wish_honoured: bool = False
    sensitivity: Sensitivity = Sensitivity.RESTRICTED
    mask: tuple[str, ...] = ()
    would_refuse: str | None = None
    would_rule: str | None = None


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """The task waits for a person. `permit` is what an approval would allow."""

    rule: str
    revision: str
    message: str
    permit: Permit
    matched: tuple[str, ...] = ()


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """The task is refused: `code` is a row of the refusal table, `message` names the rule and what would make it pass."""

    code: str
    message: str
    rule: str
    revision: str
    param: str | None = None
    matched: tuple[str, ...] = ()


Decision = Permit | Hold | Refuse


class Withheld(msgspec.Struct, frozen=True):
    """A tool that was asked for and is not offered. `reason`: unregistered, over_ceiling, not_in_set, set_overdue, prohibited_combination,
    credentials_unregistered, list_changed."""

    name: str
    kind: str
    reason: str


class ServerTool(msgspec.Struct, frozen=True):
    """A tool of an MCP server that is granted: the server's own name for it, the digest it was pinned with, the id of its catalogue
    entry, and whether each call has to be asked for before the server runs it."""

    name: str
    digest: str
    entry: str
    ask: bool


class ServerGrant(msgspec.Struct, frozen=True):
    """How far an MCP server is granted. `addresses` are the digests of where it may be (none: anywhere), `tools` what of it may be called;
    where it was never pinned (`whole`), that is all that the app allows, and `ask` says whether each call has to be asked for.
    `entries` are `(id, approval boundary)` of its catalogue entries; `internal`: it is ours."""

    label: str
    entries: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...] = ()
    tools: tuple[ServerTool, ...] = ()
    whole: bool = False
    ask: bool = True
    internal: bool = False

    def callable_unasked(self) -> bool:
        """Whether anything of the server may be called without asking first."""
        return any(not tool.ask for tool in self.tools) or (self.whole and not self.ask)


class ToolGrant(msgspec.Struct, frozen=True):
    """What is offered: asked ∩ ceiling ∩ set. `granted` holds `(kind, name)` in the order asked (an MCP server goes by its label); `choice_refusal` says why
    the app's `tool_choice` cannot be kept (then the request is refused rather than widened). `servers` say more of the MCP servers.
    An app that is only watched keeps all its tools; `would_withhold` are those that it would not have kept."""

    granted: tuple[tuple[str, str], ...] = ()
    withheld: tuple[Withheld, ...] = ()
    choice_refusal: str | None = None
    servers: tuple[ServerGrant, ...] = ()
    would_withhold: tuple[Withheld, ...] = ()
