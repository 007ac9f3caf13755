"""A conversation leads back to its session by a keyed chain over its messages; nobody else's leads there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.stages.conversation import chat_message
from router.stages.open_session import ConversationChain
from routing_rules.task import Endpoint, Task

KEY = bytes(range(32))
chains = ConversationChain(KEY)
conversations = st.lists(st.binary(max_size=20), min_size=1, max_size=8)


def told(app: str, messages: list[bytes], *, user: str | None = None, turns: tuple[int, ...] = ()) -> Task:
    return Task(Endpoint.CHAT, "auto", (), end_user=user, conversation=tuple(messages), assistant_turns=turns)


def prefixes(app: str, messages: list[bytes], *, user: str | None = None, turns: tuple[int, ...] = ()) -> list[str]:
    return chains.of(app, told(app, messages, user=user, turns=turns))[1]


@given(conversations, st.binary(max_size=20), st.binary(max_size=20))
def test_the_next_turn_carries_the_prefix_that_the_last_answer_left(before: list[bytes], answer: bytes, ask: bytes) -> None:
    chain, _ = chains.of("app", told("app", before))
    left = chains.extend(chain, (answer,)).hex()
    assert prefixes("app", [*before, answer, ask], turns=(len(before),)) == [left]


@given(conversations, st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20))
def test_forks_share_the_prefix_they_grew_from(before: list[bytes], answer: bytes, one: bytes, other: bytes) -> None:
    turns = (len(before),)
    assert prefixes("app", [*before, answer, one], turns=turns) == prefixes("app", [*before, answer, other], turns=turns)


@given(conversations)
def test_apps_users_and_keys_do_not_share_prefixes(messages: list[bytes]) -> None:
    turns = (len(messages) - 1,)
    seen = {
        *prefixes("app", messages, turns=turns),
        *prefixes("other", messages, turns=turns),
        *prefixes("app", messages, user="ann", turns=turns),
        *prefixes("app", messages, user="bob", turns=turns),
        *ConversationChain(KEY[::-1]).of("app", told("app", messages, turns=turns))[1],
    }
    assert len(seen) == 5


def test_an_app_cannot_pass_for_another_by_its_users_names() -> None:
    messages = [b"hello", b"hi"]
    assert prefixes("app", messages, user="x", turns=(1,)) != prefixes("appx", messages, turns=(1,))


@given(conversations, st.data())
def test_changing_any_earlier_message_leads_elsewhere(messages: list[bytes], data: st.DataObject) -> None:
    turns = (len(messages) - 1,)
    position = data.draw(st.integers(0, len(messages) - 1))
    changed = [*messages]
    changed[position] += b"!"
    assert prefixes("app", messages, turns=turns) != prefixes("app", changed, turns=turns)


def said_by_model(text: str) -> bytes:
    return chat_message({"role": "assistant", "content": text})


WORDS = st.text("abcdefghijklmnopqrstuvwxyzäß ,.漢字", min_size=600, max_size=900).filter(
    lambda text: len(set(text.split())) > 20
)


@given(WORDS, st.text(max_size=200), st.integers(0, 100))
def test_a_text_is_known_by_its_beginning_whatever_follows_and_however_it_is_spaced(text: str, more: str, cut: int) -> None:
    known = chains.alone("app", said_by_model(text))
    assert known is not None
    assert known == chains.alone("app", said_by_model(text + more))
    assert known == chains.alone("app", said_by_model(text[: len(text) - cut]))
    assert known == chains.alone("app", said_by_model("\n" * 3000 + text.replace(" ", " \n\t" * 5)))
    assert known == chains.alone("app", chat_message({"role": "user", "content": text}))
    assert known != chains.alone("other", said_by_model(text))
    assert known != ConversationChain(KEY[::-1]).alone("app", said_by_model(text))


def test_what_many_say_is_not_known_by_itself() -> None:
    assert chains.alone("app", said_by_model("Sure, here is what I have found for you. " * 5)) is None
    line, longer = (chains.alone("app", said_by_model("-" * count)) for count in (500, 501))
    assert line != longer
    assert chains.alone("app", said_by_model("-" * 380)) is None


def test_a_text_that_is_not_long_is_known_as_a_whole() -> None:
    text = "The customer Ada is on the gold plan since March, and pays twelve units: " * 5
    known = chains.alone("app", said_by_model(text))
    assert known is not None
    assert known == chains.alone("app", said_by_model(text.replace(" ", "\n")))
    assert known != chains.alone("app", said_by_model(text + "more"))


def test_a_word_said_to_a_result_that_many_calls_have_is_not_known_by_that_result() -> None:
    def knows(asked: str) -> set[str]:
        result = {"role": "tool", "tool_call_id": "c1", "content": '{"ok": true}'}
        messages = [chat_message({"role": "user", "content": asked}), chat_message(result), said_by_model("Done.")]
        return set(chains.said("app", messages, (2,)))

    assert knows("Book the room.")
    assert knows("Book the room.").isdisjoint(knows("Send the salaries."))
