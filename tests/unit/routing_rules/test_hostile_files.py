"""Files that are broken, hostile or enormous are refused with the reason; how long that takes is measured with the benchmarks."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, read_directory
from tests.benchmarks.hostile import FILES

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_with_the_reason(name: str) -> None:
    file, text, reason = FILES[name]
    with pytest.raises(RuleFaults) as raised:
        load(complete({file: text}, TODAY))
    assert reason in str(raised.value)
    assert len(raised.value.faults) <= 101


def refused(directory: Path) -> str:
    with pytest.raises(RuleFaults) as raised:
        read_directory(directory)
    return str(raised.value)


def test_a_link_that_leads_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "secret.yaml"
    outside.write_text("routes: []")
    inside = tmp_path / "rules"
    inside.mkdir()
    (inside / "routes.yaml").symlink_to(outside)
    assert "leads out of the directory" in refused(inside)


def test_a_directory_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.yaml").write_text("routes: []")
    inside = tmp_path / "rules"
    inside.mkdir()
    (inside / "routes").symlink_to(tmp_path / "elsewhere")
    assert "leads out of the directory" in refused(inside)


def test_a_link_within_the_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "apps.yaml").write_text("apps: []")
    (tmp_path / "purposes.yaml").symlink_to("apps.yaml")
    assert read_directory(tmp_path)["purposes.yaml"] == "apps: []"


def test_a_link_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").symlink_to("routes.yaml")
    assert "routes.yaml" in refused(tmp_path)


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "routes.yaml")
    assert "this is no file" in refused(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "routes.yaml").open("wb") as file:
        file.truncate(10**9)
    assert "at most" in refused(tmp_path)


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_bytes(b"routes: \xff\xfe")
    assert "not UTF-8: byte 8" in refused(tmp_path)


def test_too_many_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    for number in range(501):
        (tmp_path / "cases" / f"{number}.yaml").touch()
    assert "more than 500 files" in refused(tmp_path)
