"""Makes labelled examples out of the batches in `classifiers/corpus` and the templates beside this: the same ones for the same seed."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from classifiers.ask.current import Ask, ask_of
from routing_rules.task import Endpoint, Part, Provenance, Role, Task

CORPUS = Path(__file__).parent / "corpus"
BATCHES = Path(__file__).parents[1] / "corpus"
COMPLEXITY_OF_BAND = {"simple": 0.15, "moderate": 0.5, "complex": 0.85}
TEMPLATES = "templates"
"""The batch of everything that was made from templates."""

BLIND_SHARE = 10  # one template in ten is never trained on

_SLOT = re.compile(r"\{([a-z]+)\}")
_ONE_OF = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")  # `[a|b]`, also inside another one
_ASK_FILES = ("asks_work.txt", "asks_knowledge.txt", "asks_tools.txt", "asks_more.txt", "asks_acts.txt")
_TOPIC_FILES = ("topics_short.txt", "topics_more.txt")
_FOREIGN = frozenset(
    "der die das ein eine einen und mir ich bitte wie was ist auf für von im zur schreibe plane le la les un une des est que"
    " pour sur avec el los una qué cómo por para del con mi dans ce cette".split()
)
_BEFORE = (
    "please ", "Please ", "can you ", "Could you ", "could you please ", "Hey, ", "I need you to ", "hi! ", "I want you to ", "Now ",
    "Quick one: ", "Hi there, ", "Would you mind: ", "As an expert, ", "Good morning. ", "You are a helpful assistant. ",
)  # fmt: skip
_AFTER = (
    " Thanks!", " thanks", " Please.", " Keep it short.", " It is urgent.", " Be precise.", "\n\nThank you", " Take your time.", " :)",
    " Answer in English.", " Explain briefly.", " No preamble.",
)  # fmt: skip
_TASKS_ON_DOCUMENTS = (
    "Summarise this:\n\n", "Please review:\n", "Extract the main facts as JSON.\n\n", "What should we do about this?\n\n", "Translate:\n",
    "Make this clearer:\n\n", "Draft an answer to the following.\n\n", "Here is the file.\n\n", "Check this for mistakes: ", "", "", "", "",
)  # fmt: skip
_MOST_CHARACTERS = 2_400
_HANDS = 4


class Example(msgspec.Struct, frozen=True):
    """A text and what is known of it; None where nobody says. `blind` examples are for measuring only.

    Examples of one `group` differ in values only; those of one `batch` were written by the same hand. `around` is the ask
    in its conversation, where it has one.
    """

    text: str
    group: str
    blind: bool
    task: str | None = None
    complexity: float | None = None
    capabilities: frozenset[str] | None = None
    objects: frozenset[str] | None = None
    delegates: bool | None = None
    topics: frozenset[str] | None = None
    batch: str = TEMPLATES
    language: str = ""
    around: Ask | None = None

    @property
    def ask(self) -> Ask:
        """The text as an ask, with what stands around it."""
        return self.around or Ask(self.text)


class _Pool(msgspec.Struct, frozen=True):
    """What one side of the split may fill its templates with."""

    sentences: dict[str, list[str]]
    code: list[str]


def digest() -> str:
    """Hash of everything that the examples are made from."""
    total = hashlib.sha256()
    for path in [Path(__file__), *sorted(CORPUS.glob("*.txt")), *sorted(BATCHES.glob("**/*.jsonl"))]:
        total.update(path.read_bytes())
    return total.hexdigest()


def examples(seed: int, share: float = 1.0) -> list[Example]:
    """All examples, in a fixed order. `share` in (0, 1] thins the templates out, for quick checks of the machinery."""
    made = _Maker(seed)
    templates = [*made.asks(share), *made.graded(share), *made.short_topics(share), *made.documents(share)]
    return [*templates, *made.batch_asks(share), *made.batch_topics(share)]


def with_values(texts: Sequence[str]) -> list[str]:
    """The texts with a value for every slot: the same values for the same texts in the same order."""
    made = _Maker(0)
    return [made.filled(text) for text in texts]


def is_blind(template: str) -> bool:
    """Whether a template belongs to the tenth that is never trained on; depends on the template alone."""
    return int.from_bytes(hashlib.sha256(template.encode()).digest()[:4], "big") % BLIND_SHARE == 0


def sections(name: str) -> Iterator[tuple[list[str], str]]:
    """The header fields and the text of every template of a corpus file."""
    header: list[str] = []
    for line in (CORPUS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("@ "):
            header = line[2:].split()
        elif line and not line.startswith("# "):
            yield header, line.replace("\\n", "\n")


class _Maker:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._slots: dict[str, list[str]] = {}
        for _, line in sections("slots.txt"):
            name, _, values = line.partition(": ")
            self._slots[name] = values.split(" | ")
        self._made: dict[str, Callable[[], str]] = {
            "person": self._person, "date": self._date, "time": lambda: f"{self._between(7, 20)}:{self._between(10, 59)}",
            "amount": self._amount, "percent": lambda: f"{self._between(2, 60)}%", "small": lambda: str(self._between(2, 40)),
            "big": lambda: str(self._between(100, 9_999)), "id": self._id, "age": lambda: str(self._between(19, 90)),
            "kid": lambda: str(self._between(3, 15)), "grade": lambda: str(self._between(1, 9)),
            "year": lambda: str(self._between(1950, 2025)), "email": self._email, "list": self._list,
            "url": lambda: f"https://www.{self._pick('company').split()[0].lower()}.example/{self._pick('table')}",
            "address": lambda: f"{self._between(1, 140)} {self._pick('last')} Street, {self._pick('city')}",
        }  # fmt: skip
        snippets = (CORPUS / "code.txt").read_text(encoding="utf-8").split("\n%%\n")
        self._pools: dict[bool, _Pool] = {}
        for blind in (False, True):
            sentences: dict[str, list[str]] = {}
            for header, line in sections("topics_long.txt"):
                if is_blind(line) is blind:
                    sentences.setdefault(header[0], []).append(line)
            self._pools[blind] = _Pool(sentences, [code for code in snippets if is_blind(code) is blind])

    # Values

    def _between(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def _pick(self, slot: str) -> str:
        return self._random.choice(self._slots[slot])

    def _person(self) -> str:
        return f"{self._pick('first')} {self._pick('last')}"

    def _date(self) -> str:
        day, month, year = self._between(1, 28), self._between(1, 12), self._between(2019, 2027)
        name = self._slots["month"][month - 1]
        return self._random.choice(
            (
                f"{year}-{month:02}-{day:02}",
                f"{day} {name} {year}",
                f"{name} {day}",
                f"{month}/{day}/{year}",
                f"{day}.{month}.{year}",
            )
        )

    def _amount(self) -> str:
        value = self._random.choice((self._between(5, 99), self._between(100, 999), self._between(1, 400) * 1_000))
        return self._random.choice((f"${value:,}", f"{value} euros", f"€{value}", f"{value:,} USD", f"{value}.50", f"£{value:,}"))

    def _id(self) -> str:
        return self._random.choice(
            (f"#{self._between(100, 99_999)}", f"OPS-{self._between(10, 9_999)}", f"{self._between(10**5, 10**7)}")
        )

    def _email(self) -> str:
        return f"{self._pick('first').lower()}.{self._pick('last').lower()}@{self._pick('company').split()[0].lower()}.example"

    def _list(self) -> str:
        slot = self._random.choice(("animal", "food", "thing", "job", "product", "topic", "small", "city"))
        pick = self._made.get(slot) or (lambda: self._pick(slot))
        return ", ".join(pick() for _ in range(self._between(3, 6)))

    # Rows of the batches

    def batch_asks(self, share: float) -> Iterator[Example]:
        """Asks that were written one by one, and their blind part."""
        for row, text, blind in self._rows("asks*.jsonl", share):
            yield Example(
                text=text,
                group=f"{row['batch']} {text[:200]}",
                blind=blind,
                task=row["task"],
                complexity=COMPLEXITY_OF_BAND[row["complexity"]],
                capabilities=frozenset(row.get("intent", ())),
                objects=frozenset(row.get("objects", ())),
                delegates=row.get("delegates", False),
                topics=None if "reads_restricted" in row.get("intent", ()) else frozenset(),
                batch=row["batch"],
                language=row["language"],
                around=ask_of(as_task(row["messages"])) if "messages" in row else None,
            )

    def batch_topics(self, share: float) -> Iterator[Example]:
        """Sensitive texts and their harmless twins; a sensitive one counts for its own topic only."""
        for row, text, blind in self._rows("topics*.jsonl", share):
            yield Example(
                text=text,
                group=f"{row['batch']} {row['topic']} {row['pair']}",
                blind=blind,
                topics=frozenset({row["topic"]} if row["sensitive"] else ()),
                batch=row["batch"],
                language=row["language"],
            )

    def _rows(self, pattern: str, share: float) -> Iterator[tuple[dict[str, Any], str, bool]]:
        for path in sorted(BATCHES.glob(f"**/{pattern}")):
            blind = path.parent.name == "blind"
            for line in path.read_bytes().splitlines():
                if line.strip() and self._random.random() < share:
                    row = msgspec.json.decode(line)
                    yield row, self.filled(row["text"] if "text" in row else asked(row["messages"])), blind

    def filled(self, text: str) -> str:
        """A text of a batch with a value for each of its slots."""
        return _SLOT.sub(
            lambda slot: (
                self._made[slot[1]]() if slot[1] in self._made else self._pick(slot[1]) if slot[1] in self._slots else slot[0]
            ),
            text,
        )

    # Texts

    def _choose(self, template: str) -> str:
        """One of each `[a|b]`, with the blanks that an empty choice leaves taken out."""
        chosen = _ONE_OF.sub(lambda found: self._random.choice(found[1].split("|")), template)
        return re.sub(r" {2,}", " ", chosen) if chosen != template else template

    def _fill(self, template: str, pool: _Pool, topics: set[str]) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name == "code":
                topics.add("source_code")
                code = self._random.choice(pool.code)
                return f"```\n{code}\n```" if self._random.random() < 0.5 else code
            if name in ("text", "snippet"):
                sensitive = self._random.random() < (0.3 if name == "text" else 0.15)
                topic = self._random.choice(sorted(pool.sentences)) if sensitive else "none"
                topics.update(topic.split(","))
                count = self._between(2, 14) if name == "text" else self._between(1, 2)
                return self._document(topic, count, pool, topics)
            if name in self._made:
                return self._made[name]()
            return self._pick(name) if name in self._slots else found[0]

        return _SLOT.sub(value, self._choose(template))

    def _document(self, topic: str, count: int, pool: _Pool, topics: set[str]) -> str:
        known = pool.sentences[topic]
        chosen = self._random.sample(known, min(count, len(known)))
        return self._random.choice((" ", " ", "\n", "\n\n")).join(self._fill(line, pool, topics) for line in chosen)

    def _disturb(self, text: str, *, imperative: bool) -> str:
        """What people do to a text: courtesies, lower case, a missing full stop, a slip of the finger."""
        dice = self._random.random
        if imperative and dice() < 0.35:
            before = self._random.choice(_BEFORE)
            text = before + (text[0].lower() + text[1:] if dice() < 0.7 else text)
        if imperative and dice() < 0.2:
            text += self._random.choice(_AFTER)
        if dice() < 0.15:
            text = text.lower()
        if dice() < 0.15:
            text = text.rstrip(".?!:")
        if dice() < 0.12 and len(text) > 12:
            place = self._between(1, min(len(text), 200) - 2)
            text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        return text

    def asks(self, share: float) -> Iterator[Example]:
        """Examples of asks, with task, complexity and intent."""
        for name in _ASK_FILES:
            for header, template in sections(name):
                if self._random.random() >= share:
                    continue
                task, complexity, capabilities, objects, *rest = header
                blind = is_blind(template)
                english = not _FOREIGN & set(template.lower().split())
                for _ in range(_variants(template)):
                    topics: set[str] = set()
                    text = self._fill(template, self._pools[blind], topics)
                    yield Example(
                        text=self._disturb(text, imperative=english and task != "conversation")[: 3 * _MOST_CHARACTERS],
                        group=template,
                        blind=blind,
                        task=task,
                        complexity=float(complexity),
                        capabilities=_names(capabilities),
                        objects=_names(objects),
                        delegates="delegates" in rest,
                        topics=None if "restricted" in capabilities else frozenset(topics - {"none"}),
                    )

    def graded(self, share: float) -> Iterator[Example]:
        """Problems of one to eight steps: the more steps, the harder."""
        kinds: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for header, line in sections("graded.txt"):
            place, _, sentence = line.partition("\t")
            kinds.setdefault(tuple(header), {}).setdefault(place, []).append(sentence)
        for (task, base, per_step), lines in kinds.items():
            for start in lines["start"]:
                blind = is_blind(start)
                for _ in range(int(30 * share)):
                    count = self._between(0, min(7, len(lines["step"])))
                    chosen = [start, *self._random.sample(lines["step"], count), self._random.choice(lines["end"])]
                    text = self._disturb(
                        " ".join(self._fill(line, self._pools[blind], set()) for line in chosen), imperative=False
                    )
                    yield Example(
                        text=text,
                        group=start,
                        blind=blind,
                        task=task,
                        complexity=min(float(base) + float(per_step) * count, 0.95),
                        capabilities=frozenset(),
                        objects=frozenset({"code"} if task == "coding" else ()),
                        delegates=False,
                        topics=frozenset(),
                    )

    def short_topics(self, share: float) -> Iterator[Example]:
        """Short texts with a sensitive subject, and public ones on the same subjects."""
        for header, template in (pair for name in _TOPIC_FILES for pair in sections(name)):
            if self._random.random() >= share:
                continue
            blind = is_blind(template)
            for _ in range(_variants(template)):
                topics = set(header)
                text = self._disturb(self._fill(template, self._pools[blind], topics), imperative=False)
                yield Example(text=text, group=template, blind=blind, topics=frozenset(topics - {"none"}))

    def documents(self, share: float) -> Iterator[Example]:
        """Longer texts: sentences of one subject, or code, with and without an instruction.

        The sentences are dealt into hands, a document holds those of one: whoever leaves a group out for measuring then
        measures on sentences that the others do not hold.
        """
        for blind, rounds in ((False, int(70 * share)), (True, int(8 * share))):
            pool = self._pools[blind]
            hands = 1 if blind else _HANDS
            for hand in range(hands):
                dealt = _Pool({topic: lines[hand::hands] for topic, lines in pool.sentences.items()}, pool.code[hand::hands])
                for topic in sorted(dealt.sentences):
                    for _ in range(rounds * (6 if topic == "none" else 1)):
                        topics = set(topic.split(","))
                        text = self._document(topic, self._between(2, 30), dealt, topics)
                        yield self._with_task(text, f"{topic} {blind} {hand}", topics, blind=blind)
                for _ in range(rounds):
                    code = "\n\n".join(self._random.sample(dealt.code, min(len(dealt.code), self._between(1, 4))))
                    start = self._between(0, len(code) // 3)
                    yield self._with_task(code[start:], f"code {blind} {hand}", {"source_code"}, blind=blind)

    def _with_task(self, text: str, group: str, topics: set[str], *, blind: bool) -> Example:
        text = (self._random.choice(_TASKS_ON_DOCUMENTS) + text)[:_MOST_CHARACTERS]
        return Example(text=text, group=group, blind=blind, topics=frozenset(topics - {"none"}))


def asked(messages: list[dict[str, Any]]) -> str:
    """The current ask of an OpenAI message list, as the service reads it."""
    return ask_of(as_task(messages)).joined


def as_task(messages: list[dict[str, Any]]) -> Task:
    """The spoken parts of an OpenAI message list: no calls, no results of tools."""
    parts = [
        Part(Role(message["role"]), _SPOKEN[message["role"]], text, f"messages[{turn}].content", turn)
        for turn, message in enumerate(messages)
        for text in _texts(message.get("content"))
        if message["role"] in _SPOKEN
    ]
    return Task(Endpoint.CHAT, "auto", tuple(parts))


_SPOKEN = {"system": Provenance.APP, "user": Provenance.USER, "assistant": Provenance.MODEL}


def _texts(content: Any) -> list[str]:
    if isinstance(content, list):
        return [part["text"] for part in content if part.get("type") == "text"]
    return [content] if content else []


def _variants(template: str) -> int:
    """How many examples a template makes: more where it can say more different things."""
    choices = template.count("|")
    return min(10 + 2 * choices, 70) if choices else 10 if _SLOT.search(template) else 5


def _names(field: str) -> frozenset[str]:
    return frozenset() if field == "-" else frozenset(field.split(","))
