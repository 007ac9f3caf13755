"""Classes that are suggested for tools that nobody registered."""

from __future__ import annotations

from typing import Any

import pytest

from routing_rules.provenance import ACTS
from routing_rules.suggest import objects_of, suggest
from routing_rules.vocabulary import Capability as C
from routing_rules.vocabulary import Sensitivity


def schema(*names: str, **described: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names} | {
        name: {"type": "string", "description": text} for name, text in described.items()
    }}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "description", "expected"),
    [
        ("send_chat_line", "Sends a line to a channel.", {C.EGRESS}),
        ("postComment", "Posts a comment under an article.", {C.EGRESS}),
        ("add_row", "Adds a row to a sheet.", {C.WRITES_STATE}),
        ("erase_backup", "Erases a backup for good.", {C.DESTRUCTIVE}),
        ("run_script", "Runs a script in the sandbox.", {C.EXECUTES_CODE}),
        ("pay_supplier", "Pays a supplier.", {C.SPENDS_MONEY}),
        ("send_payment", "Sends a payment.", {C.SPENDS_MONEY}),
        ("grant_role", "Grants a role to somebody.", {C.ADMIN_PRIVILEGE}),
        ("change_user_password", "Changes the password.", {C.ADMIN_PRIVILEGE}),
        ("mouse_click", "Clicks at a place of the screen.", {C.COMPUTER_CONTROL}),
        ("ask_agent", "Hands the work to another agent.", {C.DELEGATES_MODEL}),
        ("get_or_create_folder", "Gets a folder, made where it is missing.", {C.WRITES_STATE}),
        ("search_and_replace", "Searches a text and replaces it.", {C.WRITES_STATE}),
        ("get_cleaner", "Deletes everything in a folder.", {C.DESTRUCTIVE}),
        ("frobnicate", "", {C.WRITES_STATE, C.EGRESS}),
        ("", "", {C.WRITES_STATE, C.EGRESS}),
        ("fetch_page", "Fetches a web page.", {C.READS_UNTRUSTED}),
        ("list_inbox", "Lists messages of the inbox.", {C.READS_PRIVATE, C.READS_UNTRUSTED}),
        ("get_account_balance", "Gets the balance.", {C.READS_PRIVATE}),
        ("show_passwords", "Shows the passwords of a vault.", {C.READS_RESTRICTED}),
    ],
)
def test_words_suggest_what_a_tool_can_do(name: str, description: str, expected: set[C]) -> None:
    assert suggest(name, description).capabilities >= expected


@pytest.mark.parametrize("name", ["list_inbox", "get_account_balance", "search_notes", "show_order", "count_tickets"])
def test_a_look_is_not_taken_for_an_act(name: str) -> None:
    assert not suggest(name).capabilities & ACTS


def test_a_page_of_the_web_is_not_ours() -> None:
    assert suggest("get_webpage", "Returns the content of a page.", schema("url")).capabilities == {C.READS_UNTRUSTED, C.EGRESS}


def test_a_clock_touches_nothing() -> None:
    assert suggest("get_current_time", "Returns the time of day.").capabilities == {C.PURE}


def test_what_a_server_says_in_its_own_favour_is_not_believed() -> None:
    plain = suggest("delete_mail", "Deletes a mail.")
    assert suggest("delete_mail", "Deletes a mail.", None, {"readOnlyHint": True, "destructiveHint": False}) == plain
    assert C.DESTRUCTIVE in suggest("list_mail", "", None, {"destructiveHint": True}).capabilities
    assert C.WRITES_STATE in suggest("list_mail", "", None, {"readOnlyHint": False}).capabilities
    assert C.READS_UNTRUSTED in suggest("get_time", "", None, {"openWorldHint": True}).capabilities


def test_arguments_that_say_where_to_or_on_what_are_destinations() -> None:
    assert suggest("send_mail", "", schema("recipients", "subject", "body")).destination_arguments == ("recipients",)
    assert suggest("delete_note", "", schema("note_id", "reason")).destination_arguments == ("note_id",)
    assert suggest("fetch_page", "", schema("url", "format")).destination_arguments == ("url",)
    assert suggest("pay", "", schema("amount", beneficiary_code="IBAN of who is paid")).destination_arguments == (
        "beneficiary_code",
    )
    assert suggest("reset_password", "", schema("new_password")).destination_arguments == ("new_password",)
    assert suggest("search_mail", "", schema("query", "sender")).destination_arguments == ()


def test_what_a_tool_is_about_is_said_by_its_name_first() -> None:
    assert objects_of("delete_email", "Deletes from the database.") == {"email"}
    assert objects_of("frobnicate", "Works on an invoice. Never on a file.") == {"payment"}


def test_a_suggestion_becomes_a_catalogue_entry() -> None:
    tool = suggest("list_inbox", "Lists messages.").tool("list_inbox", "owner@example.org")
    assert tool.functions == ("list_inbox",)
    assert tool.highest_read is Sensitivity.CONFIDENTIAL


def test_a_suggestion_says_by_which_words() -> None:
    assert "erase" in suggest("erase_backup").because
