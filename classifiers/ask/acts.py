"""Which acts the user's words name outright, in any language of the thesaurus: the sure part of an ask's intent (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from classifiers.ask.features import words
from classifiers.ask.thesaurus import Thesaurus
from routing_rules.vocabulary import Capability, Intent

MOST_CHARACTERS = 20_000
"""Of each turn: what is longer is material, and its start and end say what is to be done with it."""

_C = Capability
_ACTS: Mapping[Capability, str] = {
    _C.EGRESS: "send reply forward share publish invite upload submit_form",
    _C.WRITES_STATE: "create_record update_record schedule_event reserve remind save add_to move_rename mark_status comment_on cancel"
    " unsubscribe overwrite configure_system invite submit_form merge_commit",
    _C.DESTRUCTIVE: "delete cancel overwrite revoke",
    _C.EXECUTES_CODE: "execute_run build_test install restart merge_commit deploy",
    _C.SPENDS_MONEY: "pay transfer_money buy order_goods subscribe_paid refund donate top_up",
    _C.ADMIN_PRIVILEGE: "grant_rights revoke reset_password manage_users block_allow configure_system rotate_key deploy",
    _C.COMPUTER_CONTROL: "click_type take_screenshot fill_in_site",
    _C.DELEGATES_MODEL: "delegate_to_agent",
    _C.LOADS_TOOLS: "connect_tool",
    _C.MEMORY_PERSIST: "remember_this forget_this",
    _C.HUMAN_HANDOFF: "bring_in_person",
}
_BY_CONCEPT: dict[str, frozenset[Capability]] = {
    f"~{concept}": frozenset(capability for capability, named in _ACTS.items() if concept in named.split())
    for named in _ACTS.values()
    for concept in named.split()
}
_DELEGATES = frozenset({"~do_what_it_says"})

_NOT = "~not_negation"

_THINGS: Mapping[str, str] = {
    "email": "mail inbox",
    "calendar": "calendar meeting schedule_event",
    "file": "file folder sheet_table document_kind",
    "customer": "customer",
    "payment": "invoice payment_thing bank_account pay transfer_money refund",
    "ticket": "ticket_issue",
    "database": "database sql_query",
    "web": "web_page link_url news",
    "code": "repository pull_request code_thing",
    "message": "chat_message",
    "contact": "contact_person",
    "account": "user_account role_permission secret_key_thing reset_password",
    "booking": "booking flight_train hotel_table reserve",
    "memory": "memory_thing remember_this",
}
_BY_THING: dict[str, frozenset[str]] = {
    f"~{concept}": frozenset(thing for thing, named in _THINGS.items() if concept in named.split())
    for named in _THINGS.values()
    for concept in named.split()
}
_MONEY = frozenset(
    {"~payment_thing", "~bank_account", "~invoice", "~exchange_rate_price", "~interest_percentage", "~pay", "~subscription"}
)
_GIVES = frozenset({"~send", "~reserve", "~schedule_event", "~create_record", "~update_record"})
_STORES = frozenset(
    {
        f"~{concept}"
        for thing in ("calendar", "file", "customer", "ticket", "database", "code")
        for concept in _THINGS[thing].split()
    }
)
_PUTS = frozenset(
    "write edit put enter note log record fill set tag attach insert append paste correct fix refactor rename type replace adjust"
    " schreib schreibe trag trage setz setze ändere korrigiere benenne écris mets corrige modifie note inscris escribe pon anota corrige"
    " edita scrivi metti correggi modifica annota escreva ponha corrija schrijf zet pas wpisz popraw skriv sätt yaz düzelt".split()
)
"""What puts something into a thing that keeps it; by itself it may as well be about a text in the answer."""
_FILE_NAME = re.compile(r"(?<![\w@/.-])[\w-]{1,80}\.[a-z][a-z0-9]{0,4}(?![\w@.-])")
_KEYS = frozenset({"~secret_key_thing", "~role_permission", "~reset_password"})
_CHANGES = frozenset({"~update_record", "~create_record", "~add_to", "~delete", "~overwrite"})
_DO = frozenset("do perform complete carry work execute handle finish".split())
_DEEDS = frozenset("actions action tasks task things items todos todo steps requests points".split())
_ELSEWHERE = frozenset("specified listed described mentioned outlined requested written noted assigned contained in from".split())
_STARTS = frozenset("please and then to also , ; : 0 . ) und bitte".split())
_WRITE_TO = frozenset("email mail message text ping".split())


def named(thesaurus: Thesaurus, turns: Iterable[str]) -> Intent:
    """The acts and things that turns of the user name. `delegates`: that others' words are to be followed.

    A turn that names an act and no thing may mean any, so that then no things are told.
    """
    acts: set[Capability] = set()
    things: set[str] = set()
    delegates = anything = False
    for turn in turns:
        intent = _of_turn(thesaurus, turn)
        acts |= intent.capabilities
        things |= intent.objects
        delegates |= intent.delegates
        anything |= bool(intent.capabilities) and not intent.objects
    return Intent(frozenset(acts), frozenset() if anything else frozenset(things), delegates)


def _of_turn(thesaurus: Thesaurus, turn: str) -> Intent:
    turn = _bounded(turn)
    found = words(turn)
    concepts = frozenset(_not_denied(thesaurus.sequence(found)))
    if _FILE_NAME.search(turn):
        concepts |= {"~file"}
    acts = {act for concept in concepts for act in _BY_CONCEPT.get(concept, ())}
    things = {thing for concept in concepts for thing in _BY_THING.get(concept, ())}
    if concepts & _GIVES and concepts & _MONEY:
        acts.add(_C.SPENDS_MONEY)
    if concepts & _CHANGES and concepts & _KEYS:
        acts.add(_C.ADMIN_PRIVILEGE)
    if concepts & _STORES and (not _PUTS.isdisjoint(found) or "~write_draft" in concepts):
        acts.add(_C.WRITES_STATE)
    if _writes_to(found):
        acts.add(_C.EGRESS)
    if _C.SPENDS_MONEY in acts:
        things.add("payment")
    delegates = _carries_out(found) or (bool(concepts & _DELEGATES) and _still_delegates(thesaurus, found))
    return Intent(frozenset(acts), frozenset(things), delegates)


def joined(named: Intent, judged: Intent, confidence: float, sure: float) -> tuple[Intent, float]:
    """What is named outright together with what a model judges, where it is at least `sure`; and how sure the whole is."""
    trusted = judged if confidence >= sure else Intent()
    anything = bool(named.capabilities) and not named.objects
    things = frozenset() if anything else named.objects | trusted.objects
    both = Intent(named.capabilities | trusted.capabilities, things, named.delegates or trusted.delegates)
    return both, 1.0 if named.capabilities or named.delegates else confidence


def _not_denied(concepts: list[str]) -> Iterable[str]:
    """The concepts without the acts that are told not to be done: those right after a negation."""
    before = ""
    for concept in concepts:
        if before != _NOT or concept not in _BY_CONCEPT:
            yield concept
        before = concept


def _bounded(turn: str) -> str:
    if len(turn) <= MOST_CHARACTERS:
        return turn
    return f"{turn[: MOST_CHARACTERS // 2]}\n{turn[-MOST_CHARACTERS // 2 :]}"


def _carries_out(found: list[str]) -> bool:
    """Whether deeds are to be done that stand written elsewhere: `do the tasks listed in …`. Those that follow are the user's own."""
    for place, word in enumerate(found):
        near = found[place + 1 : place + 6]
        if word in _DO and not _DEEDS.isdisjoint(near) and "following" not in near:
            if not _ELSEWHERE.isdisjoint(found[place + 2 : place + 9]):
                return True
    return False


def _still_delegates(thesaurus: Thesaurus, found: list[str]) -> bool:
    """Whether more than an `according to` says so, by which people mostly name a source."""
    return "according" not in found or not _DELEGATES.isdisjoint(
        thesaurus.sequence([word for word in found if word != "according"])
    )


def _writes_to(found: list[str]) -> bool:
    """Whether `email`, `message` and the like are verbs here: they begin an order."""
    return found[:1] != [] and (
        found[0] in _WRITE_TO or any(before in _STARTS and word in _WRITE_TO for before, word in pairwise(found))
    )
