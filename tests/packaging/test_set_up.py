"""The two commands of a newcomer, on a clone that holds nothing but the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOLS = ("sh", "env", "cat", "sed", "rm", "touch")
VERSIONS = ("3.11", "3.12")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


def pythons() -> list[Path]:
    """One Python of each version that the service supports, as far as this machine has them."""
    own = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = (Path(there) for version in VERSIONS if (there := shutil.which(f"python{version}")))
    found: dict[str, Path] = {}
    for python in (own, *sorted(versions.glob("3.1[12].*/bin/python3.1[12]")), *on_path):
        if python.name.removeprefix("python") in VERSIONS and python.name not in found and _works(python):
            found[python.name] = python
    return list(found.values())


def _works(python: Path) -> bool:
    return subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def path_with(folder: Path, tools: Iterable[str]) -> Path:
    """A directory for PATH that holds these tools of this machine and nothing else."""
    folder.mkdir()
    for tool in tools:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    return folder


def make(clone: Path, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program is not None
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [program, *arguments], cwd=clone, env={**kept, "PATH": path}, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("arguments", [(), ("PYTHON=/nowhere/python3.12",)])
def test_without_a_fitting_python_it_says_what_is_needed_and_leaves_nothing_behind(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(REPOSITORY / name, tmp_path)
    tools = path_with(tmp_path / "tools", TOOLS)
    script(tools / "python3", 'if [ "$1" = --version ]; then echo "Python 3.13.0"; else exit 1; fi')
    done = make(tmp_path, str(tools), "setup", *arguments)
    assert done.returncode != 0
    assert "Python 3.11 or 3.12 with its venv module is needed" in done.stderr
    assert ("Python 3.13.0 cannot be used" in done.stderr) == (not arguments)
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (REPOSITORY / ".git").exists() or shutil.which("git") is None, reason="not a clone")
@pytest.mark.parametrize("python", pythons(), ids=lambda python: python.name)
def test_a_clone_is_set_up_by_one_command_with_the_python_that_fits(tmp_path: Path, python: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", REPOSITORY, clone], check=True)
    first = tmp_path / "bin"
    first.mkdir()
    script(first / "python3", "exit 1")  # what is called python3 here is of another version
    for version in VERSIONS:
        script(first / f"python{version}", f'exec {python} "$@"' if python.name.endswith(version) else "exit 1")
    path = f"{first}:{os.environ['PATH']}"
    (clone / ".venv" / "bin").mkdir(parents=True)  # what an interrupted attempt leaves
    (clone / ".venv" / "bin" / "python").symlink_to(python)
    made = make(clone, path, "setup")
    assert made.returncode == 0, made.stderr
    router = subprocess.run([clone / ".venv/bin/router", "--version"], capture_output=True, text=True)
    assert router.stdout.startswith("router, version "), router.stderr
    assert "Nothing to be done" in make(clone, path, "setup").stdout
