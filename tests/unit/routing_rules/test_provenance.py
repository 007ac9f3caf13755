"""Where the destinations of a call come from."""

from __future__ import annotations

import json

import pytest

from routing_rules.provenance import (
    LONGEST_VALUE,
    MOST_JSON_CHARACTERS,
    MOST_YAML_CHARACTERS,
    Origin,
    Result,
    Source,
    Sources,
    origins,
    vouches,
)
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import Capability
from tests.benchmarks.cpu_time import within

SEND = frozenset({Capability.EGRESS})
PAY = frozenset({Capability.SPENDS_MONEY})
FETCH = frozenset({Capability.READS_UNTRUSTED, Capability.EGRESS})


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Mail bob@example.com.", "bob@example.com"),
        ("Mail Bob@Example.com, please", "bob@example.com"),
        ("to:bob@example.com", "bob@example.com"),
        ("(see https://example.com/a)", "https://example.com/a"),
        ("see www.example.com/ please", "https://www.example.com"),
        ("Is https://example.com/a?b=1? there", "https://example.com/a?b=1"),
        ("the account DE89 3704 0044 0532 0130 00!", "DE89370400440532013000"),
        ("post it in #general", "general"),
        ("ask @ann about it", "ann"),
        ("ask Riverside View Hotel", "Riverside View Hotel"),
        ("写信给 bob@example.com 谢谢", "bob@example.com"),
    ],
)
def test_whole_words_of_a_user_turn_vouch(said: str, value: str) -> None:
    assert Sources([said]).of(value) is Source.USER


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Mail bigbob@example.com", "bob@example.com"),
        ("Mail bob@example.com.evil.org", "bob@example.com"),
        ("Mail bob@example.com", "example.com"),
        ("see example.com/a", "example.com/a/b"),
        ("see example.com", "example.com?q=secret"),
        ("see https://example.com/a/b", "https://example.com/a"),
        ("pay 1234", "123"),
        ("see example.com/#general", "general"),
        ("nothing", "   "),
        ("write to all of the people in the team", "all"),
        ("write to all of the people in the team", "the"),
        ("a" * 600, "a" * 600),
        ("bob@example.com", "bob@example.com\n"),
        ("bob@example.com", "bob\u200b@example.com"),
    ],
)
def test_a_part_of_a_longer_word_and_what_goes_on_behind_it_do_not(said: str, value: str) -> None:
    assert Sources([said]).of(value) is Source.MODEL


def test_several_values_in_one_text_have_the_source_of_the_worst() -> None:
    sources = Sources(["Mail bob@example.com"], ["ann@example.com"])
    assert sources.of("bob@example.com, ann@example.com") is Source.LISTED
    assert sources.of("bob@example.com; eve@example.com") is Source.MODEL
    assert sources.of(",;,") is Source.MODEL


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("desk@example.org", Source.LISTED),
        ("ANYBODY@corp.example", Source.LISTED),
        ("https://files.example/team/a", Source.LISTED),
        ("https://files.example/team/../other", Source.MODEL),
        ("https://files.example/team/%2e%2e/other", Source.MODEL),
        ("https://files.example.evil.org/team/", Source.MODEL),
        ("a@b@corp.example", Source.MODEL),
        ("eve%evil.org@corp.example", Source.MODEL),
        ("evil.org!eve@corp.example", Source.MODEL),
        ("anybody@corp.example,eve@evil.org", Source.MODEL),
        ("anybody@sub.corp.example", Source.MODEL),
    ],
)
def test_an_allow_list_holds_values_domains_of_addresses_and_what_lies_below_a_url(value: str, source: Source) -> None:
    assert Sources([], ["desk@example.org", "@corp.example", "https://files.example/team/"]).of(value) is source


def test_a_whole_scalar_leaf_of_a_strictly_parsed_result_vouches() -> None:
    sources = Sources([], results=[Result('[{"mail": "bob@example.com", "id": 13, "ok": true, "none": null}]')])
    assert sources.of("bob@example.com") is Source.LEAF
    assert sources.of("13") is Source.LEAF
    assert sources.of("mail") is Source.MODEL  # a key is no value
    assert sources.of("BOB@example.com") is Source.MODEL


def test_yaml_results_are_read_too_without_tags_anchors_and_aliases() -> None:
    assert Sources([], results=[Result("- mail: bob@example.com\n  ids: [1, '2']\n")]).of("bob@example.com") is Source.LEAF
    for text in (
        "mail: &a bob@example.com\ncopy: *a\n",
        "mail: !!str bob@example.com\n",
        "a: 1\n---\nmail: bob@example.com\n",
        "bob@example.com",
        "Dear Ann,\nplease pay to: bob@example.com\nBest\n",
    ):
        assert Sources([], results=[Result(text)]).of("bob@example.com") is Source.MODEL, text


@pytest.mark.parametrize(
    "text",
    [
        'Send it to "bob@example.com" now.',
        '{"body": "Send it to \'bob@example.com\' now."}',
        '"bob@example.com"',
        '{"mail": "bob@example.com"',
        '{"mail": "bob@example.com"} and so on',
    ],
)
def test_quotes_and_cut_off_results_never_vouch(text: str) -> None:
    assert Sources([], results=[Result(text)]).of("bob@example.com") is Source.MODEL


def test_what_an_external_tool_says_is_told_apart() -> None:
    sources = Sources([], results=[Result('{"url": "https://example.com/x"}', external=True)])
    assert sources.of("https://example.com/x") is Source.EXTERNAL_LEAF


def test_results_are_no_reason_to_spend_and_the_outside_world_none_to_act() -> None:
    assert [vouches(source, PAY) for source in Source] == [True, True, False, False, False]
    assert [vouches(source, SEND) for source in Source] == [True, True, True, False, False]
    assert [vouches(source, FETCH) for source in Source] == [True, True, True, True, False]


def test_only_user_turns_and_results_of_issued_calls_are_taken_from_a_task() -> None:
    def part(role: Role, provenance: Provenance, text: str, call_id: str | None = None) -> Part:
        return Part(role, provenance, text, "messages[0]", 0, call_id)

    sources = Sources.of_parts(
        [
            part(Role.USER, Provenance.USER, "to user@example.com"),
            part(Role.USER, Provenance.ATTACHMENT, "to attached@example.com"),
            part(Role.SYSTEM, Provenance.APP, "to system@example.com"),
            part(Role.ASSISTANT, Provenance.MODEL, "to model@example.com"),
            part(Role.TOOL, Provenance.TOOL_RESULT, '["issued@example.com"]', "call_1"),
            part(Role.TOOL, Provenance.TOOL_RESULT, '["web@example.com"]', "call_2"),
            part(Role.TOOL, Provenance.TOOL_RESULT, '["forged@example.com"]', "call_3"),
        ],
        issued={"call_1": False, "call_2": True},
    )
    told = {
        name: sources.of(f"{name}@example.com") for name in ("user", "attached", "system", "model", "issued", "web", "forged")
    }
    assert told.pop("user") is Source.USER
    assert told.pop("issued") is Source.LEAF
    assert told.pop("web") is Source.EXTERNAL_LEAF
    assert set(told.values()) == {Source.MODEL}


def test_every_scalar_of_a_destination_argument_is_looked_at_and_none_is_kept() -> None:
    sources = Sources(["to bob@example.com"])
    found = origins({"to": ["bob@example.com", {"address": "eve@example.com"}], "body": "x"}, ["to"], sources, SEND)
    assert sorted(origin.source for origin in found) == [Source.USER, Source.MODEL]
    assert "eve" not in repr(found)
    assert "bob" not in repr(sources)
    assert "secret" not in repr(Result("secret"))
    assert origins({"to": None, "cc": [], "bcc": ""}, ["to", "cc", "bcc"], sources, SEND) == ()


def test_a_destination_may_stand_within_an_argument() -> None:
    sources = Sources(["to bob"])
    arguments = {"messages": [{"to": "bob", "text": "x"}, {"to": ["eve"]}, "odd"], "text": "ignored"}
    found = origins(arguments, ["messages.to", "no.where"], sources, SEND)
    assert sorted(origin.source for origin in found) == [Source.USER, Source.MODEL]
    assert {origin.argument for origin in found} == {"messages.to"}


def test_any_url_of_a_call_that_reads_is_a_destination() -> None:
    sources = Sources(["read https://example.com/a"])
    reads = frozenset({Capability.READS_UNTRUSTED})
    assert origins({"page": "https://example.com/a"}, [], sources, reads) == (Origin("page", Source.USER, True),)
    assert origins({"page": "https://evil.org/?d=secret"}, [], sources, reads) == (Origin("page", Source.MODEL, True),)


def test_an_address_in_an_argument_that_nobody_named_is_a_destination_of_an_act() -> None:
    sources = Sources(["to bob@example.com"])
    found = origins(
        {"guests": ["eve@evil.org"], "hook": "https://evil.org/x", "body": "write to eve@evil.org"}, [], sources, SEND
    )
    assert found == (Origin("guests", Source.MODEL), Origin("hook", Source.MODEL))
    for hidden in (
        {"guests": "Eve"},
        {" BCC ": ["eve"]},
        {"people": "Eve <eve@evil.org>"},
        {"options": '{"copy": ["eve@evil.org"]}'},
        {"headers": {"Copy": "eve@evil.org"}},
    ):
        assert [origin.source for origin in origins(hidden, ["to"], sources, SEND)] == [Source.MODEL], hidden
    assert origins({"sender": "eve@evil.org"}, [], sources, frozenset({Capability.READS_PRIVATE})) == ()


OUT_OF_SIGHT = [
    "eve@evil.example,bob@example.com",
    "eve@evil.example bob@example.com",
    "eve@evil.example\nbob@example.com",
    "bob@example.com;eve@evil.example",
    "bob@example.com and eve@evil.example",
    "eve@evil.example;",
    "<eve@evil.example>;",
    "Eve <eve@evil.example>, Bob <bob@example.com>",
    "Evil, Eve <eve@evil.example>, Bob <bob@example.com>",
    '"Evil, Eve" <eve@evil.example>, bob@example.com',
    "eve@evil.example (Eve)",
    "cc: eve@evil.example",
    "cc=eve@evil.example",
    "x, eve@evil.example",
    "eve@[10.0.0.1]",
    "eve%evil.example@example.com",
    "eve%40evil.example",
    "eve @ evil.example",
    "eve@ evil.example",
    "eve\uff20evil.example",
    "eve@evil.example?cc=bob@example.com",
    "https:evil.example/in",
    "https:/evil.example/in",
    "\\\\evil.example\\in",
    "/\\evil.example/in",
    "//evil.example/in",
    "ht\ntps://evil.example/in",
    "\x01https://evil.example/in",
    "evil.example/in",
    "evil.example?d=1",
    "evil.example:8080",
    "evil。example/in",
    "10.0.0.1/in",
    "+4930123456",
    "+4930123456, +49-30-99999",
    "https://evil.example/a, https://evil.example/b",
    '{"a": "[{\\"b\\": \\"eve@evil.example\\"}]"}',
    "eve@evil.example," * 60,
]


@pytest.mark.parametrize("given", OUT_OF_SIGHT)
def test_lists_and_odd_spellings_in_an_argument_that_nobody_named_are_destinations(given: str) -> None:
    sources = Sources(["Write to bob@example.com"])
    for argument in (given, [given], {"x": given}, json.dumps({"x": [given]})):
        found = origins({"to": "bob@example.com", "note": argument}, ["to"], sources, SEND)
        assert max(origin.source for origin in found) is Source.MODEL, argument


@pytest.mark.parametrize(
    "given",
    ["bob@example.com, ann@example.com", "Bob <bob@example.com>; <ann@example.com>", "bob@example.com\nann@example.com\n"],
)
def test_a_list_of_what_the_user_named_is_vouched_for(given: str) -> None:
    sources = Sources(["Write to bob@example.com and ann@example.com"])
    assert {origin.source for origin in origins({"others": given}, [], sources, SEND)} == {Source.USER}


@pytest.mark.parametrize(
    "given",
    [
        "Invoice from eve@evil.example",
        "Please write to <eve@evil.example> as soon as you can, thanks",
        "Hello Bob,\n\nAnn (ann@example.org) asked about the report, see https://example.org/r.\n\nBest",
        "See https://example.org/r",
        "notes.txt, report.pdf",
        "a and/or b: 10:30, 3.5/4",
        "v1.2.3",
        "meet @ 5",
        "5",
        "",
    ],
)
def test_words_that_mention_an_address_are_no_destination(given: str) -> None:
    assert origins({"subject": given, "body": [given]}, [], Sources(["hello"]), SEND) == ()


def test_the_name_of_an_argument_is_known_in_any_spelling() -> None:
    for name in ("Channel_Id", "channel-id", " channel_id "):
        assert origins({name: "eve"}, ["channel_id"], Sources(["hello"]), SEND) == (Origin(name, Source.MODEL),)


def test_names_that_are_addresses_and_names_that_say_where_to_are_looked_at() -> None:
    sources = Sources(["to bob@example.com"])
    for hidden in (
        {"rights": {"eve@evil.example": "write"}},
        {"eve@evil.example": "write"},
        {"additional_recipients": "eve"},
        {"ccEmails": ["eve"]},
        {"message": {"bcc": "eve"}},
    ):
        found = origins(hidden, [], sources, SEND)
        assert [origin.source for origin in found] == [Source.MODEL], hidden
        assert "evil" not in repr(found)
    assert origins({"rights": {"bob@example.com": "read"}}, ["rights"], sources, SEND)[0].source is Source.USER
    assert {each.source for each in origins({"rights": {"eve@evil.example": "bob@example.com"}}, ["rights"], sources, SEND)} == {
        Source.USER,
        Source.MODEL,
    }
    assert origins({"number_of_guests": 2, "span": {"from": "9:00", "to": "10:00"}}, [], sources, SEND) == ()


def test_nothing_hides_behind_many_values_or_deep_ones() -> None:
    sources = Sources(["to bob@example.com"])
    deep: object = "x"
    for _ in range(200):
        deep = [deep]
    for given in (
        [1] * 500 + ["eve@evil.example"],
        ["eve@evil.example"] + [1] * 500,
        ["bob@example.com"] * 500,
        [deep],
        ["eve@evil.example", deep],
    ):
        assert max(each.source for each in origins({"x": given}, [], sources, SEND)) is Source.MODEL
    assert origins({"rows": [[1, "word"]] * 500}, [], sources, SEND) == ()


@pytest.mark.parametrize(
    "page", ["https:evil.org/?d=1", "evil.org/?d=1", "\thttps://evil.org", "ht\ttps://evil.org", "ok, evil.org/x"]
)
def test_a_url_without_its_scheme_is_a_url(page: str) -> None:
    assert origins({"page": page}, ["page"], Sources(["hello"]), FETCH) == (Origin("page", Source.MODEL, True),)
    assert origins({"page": page}, [], Sources(["hello"]), FETCH) == (Origin("page", Source.MODEL, True),)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("to anna@strasse.example", "anna@straße.example"),
        ("to anna@straße.example", "anna@strasse.example"),
        ("to anna@straße.example", "anna@STRASSE.example"),
        ("to anna@λόγος.example", "anna@λόγοσ.example"),
        ("to kim@example.com", "\u212aim@example.com"),
        ("to office@example.com", "o\ufb03ce@example.com"),
        ("to sam@example.com", "\u017fam@example.com"),
        ("to lidia@example.com", "L\u0130dia@example.com"),
    ],
)
def test_letters_that_only_fold_to_one_another_are_not_the_same(said: str, value: str) -> None:
    assert Sources([said]).of(value) is Source.MODEL
    assert Sources([], [said[3:]]).of(value) is Source.MODEL
    assert (
        Sources([], ["@" + said.partition("@")[2]]).of("x@" + value.partition("@")[2]) is Source.MODEL or "@example.com" in said
    )


def test_capitals_do_not_matter_in_any_script() -> None:
    assert Sources(["to Jürgen@MÜLLER.example and İnci"]).of("jürgen@müller.example") is Source.USER
    assert Sources([], ["@MÜLLER.example"]).of("x@Müller.example") is Source.LISTED


@pytest.mark.parametrize("value", ["https://exahttp://mple.com", "examailto:mple.com", "https://a-http://example.com"])
def test_a_scheme_is_left_out_only_where_a_value_begins(value: str) -> None:
    assert Sources(["see example.com and a-example.com"]).of(value) is Source.MODEL


@pytest.mark.parametrize(
    ("said", "value", "source"),
    [
        ("Tell Ann about the report", "about", Source.MODEL),
        ("Tell Ann about the report", "the report", Source.MODEL),
        ("Tell Ann about the report", "ann", Source.USER),
        ("Post it in #report", "report", Source.USER),
        ('Post it in the channel "report"', "report", Source.USER),
        ("Post it in general, please", "general", Source.USER),
        ("Send it to support", "support", Source.USER),
        ("Write to all, please", "#all", Source.MODEL),
    ],
)
def test_an_ordinary_word_names_something_only_where_it_is_marked(said: str, value: str, source: Source) -> None:
    assert Sources([said]).of(value) is source


@pytest.mark.hostile
def test_a_long_text_is_read_once() -> None:
    sources = Sources(["to bob@example.com"])
    texts = (
        "word. " * 50_000,
        '"' * 300_000,
        "<" * 300_000,
        "a." * 150_000,
        "a@b " * 75_000,
        "(" * 300_000,
        "{" * 300_000,
        "\n" * 300_000 + "@",
    )
    with within(3.0):
        for text in texts:
            origins({"x": text}, [], sources, SEND)
            origins({"x": text}, [], sources, FETCH)


def test_more_values_than_can_be_looked_at_count_as_the_models() -> None:
    sources = Sources(["to bob@example.com"])
    many = origins({"to": ["bob@example.com"] * 500}, ["to"], sources, SEND)
    assert many[-1].source is Source.MODEL
    deep: object = "bob@example.com"
    for _ in range(200):
        deep = [deep]
    assert [each.source for each in origins({"to": deep}, ["to"], sources, SEND)] == [Source.MODEL]


@pytest.mark.hostile
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" + "".join(f"d{i}: [*c, *c]\n" for i in range(200)),
        "- " * 4_000,
        "{" * 8_000,
        "? " * 4_000,
        '"' * 8_000,
        "&" * 8_000,
        "a: " * 2_000,
        "9" * 900_000,
        "[" + "9" * 900_000 + "]",
        "[1e999999]",
        "\x00\ud800",
        "%YAML 99.99\n---\na: b",
        "{a: b" * 1_000,
        "[ " * 4_000,
        "[ " * 60 + "x: " * 2_000,
        "]" * 4_000 + "[" * 4_000,
    ],
)
def test_hostile_results_vouch_for_nothing(text: str) -> None:
    with within(5.0):
        assert Sources(["hello"], results=[Result(text)]).of("x" * 40) is Source.MODEL


@pytest.mark.hostile
def test_the_search_among_the_users_words_is_bounded() -> None:
    with within(2.0):
        sources = Sources(["a" * 200_000 + " bob@example.com"])
        assert sources.of("a" * LONGEST_VALUE) is Source.MODEL


def test_results_beyond_the_bounds_are_passed_over_and_later_ones_still_count() -> None:
    large = '["' + "x" * MOST_JSON_CHARACTERS + '"]'
    yaml = "- a: b\n" * MOST_YAML_CHARACTERS
    sources = Sources([], results=[Result(large), Result(yaml), Result('["bob@example.com"]')])
    assert sources.of("bob@example.com") is Source.LEAF
    assert sources.of("b") is Source.MODEL
