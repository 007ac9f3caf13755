"""What the security tests share: a stub provider and a place for a service's data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_provider import StubProvider, serving


@pytest.fixture
def stub() -> Iterator[StubProvider]:
    with serving() as provider:
        yield provider


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
