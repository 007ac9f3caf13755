"""A Dockerfile as a list of stages, and its steps carried out in plain directories by chroot, where no container engine runs.

Covers what ours uses: RUN in shell form, COPY between stages and from the context, ENV, WORKDIR, USER, and the exec form of
ENTRYPOINT, CMD and HEALTHCHECK. Anything else that would have an effect is refused rather than passed over.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import string
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

WITHOUT_EFFECT = ("EXPOSE", "VOLUME", "LABEL")
"""Instructions that change nothing in the file system and nothing in how the process starts by chroot."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, continuation lines joined."""

    word: str
    value: str


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands between one FROM and the next. `name` is empty where the stage has none."""

    image: str
    name: str
    instructions: tuple[Instruction, ...]

    def last(self, word: str) -> str | None:
        """Value of the last instruction of that kind: the one in force."""
        return next((each.value for each in reversed(self.instructions) if each.word == word), None)

    def command(self, word: str) -> list[str]:
        """The exec form of ENTRYPOINT, CMD or HEALTHCHECK (what follows its CMD); empty where there is none."""
        value = self.last(word) or "[]"
        parsed = json.loads(value[value.index("[") :])
        assert isinstance(parsed, list)
        return [str(part) for part in parsed]


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile, in order."""
    stages: list[tuple[str, str, list[Instruction]]] = []
    for line in _joined(text):
        word, _, value = line.partition(" ")
        word, value = word.upper(), value.strip()
        if word == "FROM":
            image, _, name = value.partition(" AS ")
            stages.append((image.strip(), name.strip(), []))
        else:
            stages[-1][2].append(Instruction(word, value))
    return [Stage(image, name, tuple(instructions)) for image, name, instructions in stages]


def _joined(text: str) -> list[str]:
    lines: list[str] = []
    pending = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1].rstrip() + " "
        else:
            lines.append(pending)
            pending = ""
    return lines


@dataclass(slots=True)
class Root:
    """A directory tree that stands for the file system of one stage, with the settings that its instructions have made so far."""

    path: Path
    context: Path
    others: Mapping[str, Root]
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    workdir: str = "/"
    user: str = "0:0"

    def carry_out(self, instruction: Instruction, reach: Mapping[str, str]) -> None:
        """One build step. `reach` are variables that a RUN also sees: how the outside is reached here. Raises AssertionError where it fails."""
        match instruction.word:
            case "RUN":
                self._run(instruction.value, reach)
            case "COPY":
                self._copy(shlex.split(instruction.value))
            case "ENV":
                for pair in shlex.split(instruction.value):
                    name, _, value = pair.partition("=")
                    self.environment[name] = string.Template(value).safe_substitute(self.environment)
            case "WORKDIR":
                self.workdir = os.path.join(self.workdir, instruction.value)
                self.inside(self.workdir).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.user = instruction.value
            case "ENTRYPOINT" | "CMD" | "HEALTHCHECK":
                pass
            case word:
                assert word in WITHOUT_EFFECT, f"{word} {instruction.value}: not carried out here"

    def inside(self, path: str) -> Path:
        """Where an absolute path of the stage lies on this machine."""
        return self.path / path.lstrip("/")

    def argv(self, command: Sequence[str]) -> list[str]:
        """What runs a command in the tree as the stage's user, with a /proc of its own that is gone afterwards."""
        enter = 'mount -t proc proc "$0/proc"; root=$0; user=$1; dir=$2; shift 2; exec chroot --userspec="$user" "$root" /bin/sh -c \'cd "$0" && exec "$@"\' "$dir" "$@"'
        return ["unshare", "--mount", "sh", "-c", enter, str(self.path), self.user, self.workdir, *command]

    def _run(self, command: str, reach: Mapping[str, str]) -> None:
        done = subprocess.run(
            self.argv(["/bin/sh", "-c", command]),
            env={**reach, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"RUN {command}\nexit {done.returncode}\n{done.stdout[-4000:]}"

    def _copy(self, words: list[str]) -> None:
        options = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")]
        base = self.context
        for option in options:
            name, _, value = option.partition("=")
            assert name == "--from", f"COPY {option}: not carried out here"
            base = self.others[value].path
        into = self.inside(os.path.join(self.workdir, target))
        for source in sources:
            found = base / source.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=None if options else _ignored)
            else:
                to = into / found.name if target.endswith("/") else into
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, to)


def _ignored(_: str, names: list[str]) -> list[str]:
    """What `.dockerignore` keeps out of the directories that are copied."""
    return [name for name in names if name == "__pycache__"]
