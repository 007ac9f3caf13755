"""A request that says twice who asks or for what is refused, wherever it goes."""

from __future__ import annotations

import pytest

from router.api.asgi import sent_twice


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "x-api-key",
        "x-session-id",
        "x-stainless-retry-count",
        "x-router-label",
        "x-router-purpose",
        "x-router-no",
    ],
)
def test_a_header_that_governs_is_there_once(name: str) -> None:
    header = (name.encode(), b"one")
    others = [(b"accept", b"a"), (b"accept", b"b"), (b"anthropic-beta", b"x"), (b"anthropic-beta", b"y")]
    assert sent_twice([header, *others]) is None
    refusal = sent_twice([header, *others, (name.encode(), b"one")])
    assert refusal is not None
    assert (refusal.code, refusal.row.status) == ("invalid_request", 400)
    assert "one" not in refusal.message
