"""The text of files that are sent along: plain text, Office files and PDF, within limits; what is left stays unread.

A file is judged by what it holds, not by the type that its sender gives it. Archives inside archives, macros and embedded objects are
not opened; pictures are not read. Whatever is met that was not read is named, so that it counts as the rules say.
"""

from __future__ import annotations

import importlib
import io
import re
import resource
import signal
import zipfile
from base64 import b64decode
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from defusedxml.ElementTree import DefusedXMLParser  # type: ignore[import-untyped]

from routing_rules.task import Part

CPU_SECONDS = 1.0
"""What reading all files of one task may take."""

MEMORY_BYTES = 256 * 1024 * 1024
"""How much the process may grow meanwhile."""

MOST_CHARACTERS = 2_000_000
MOST_EXPANDED_BYTES = 32 * 1024 * 1024
MOST_MEMBERS = 2_000
MOST_RATIO = 200
"""A part of an archive that unfolds to more than so many times its size, and to more than a megabyte, is a bomb."""

_AGAIN = 0.1  # seconds after which the time is said to be over once more, should somebody not have listened
_LOSING = frozenset({"__del__", "gc_callback"})  # functions out of which no exception comes; the next signal is not far
_FREE_EXPANSION = 1024 * 1024
_PDF_START = 1_024  # readers take a file for PDF whose mark stands in its first kilobyte
_BOMS = (
    (BOM_UTF8, "utf-8-sig"),
    (BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (BOM_UTF32_BE, "utf-32"),
    (BOM_UTF16_LE, "utf-16"),
    (BOM_UTF16_BE, "utf-16"),
)
_MOST_FOREIGN = 0.2
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1b")
_NOT_ASCII = bytes(range(128, 256))

_XML = (".xml", ".rels", ".vml", ".html", ".htm", ".txt")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".emf", ".wmf", ".svg", ".webp", ".wdp")
_NO_CONTENT = ("printersettings", ".odttf", ".fntdata", "mimetype", "[content_types].xml", "layout-cache", ".rdf", "thumbnail")
_BLOCKS = frozenset({"p", "row", "tr", "si", "br", "cr", "h", "line-break", "table-row", "list-item", "comment", "property"})
_INLINE = frozenset({"t", "delText", "instrText", "span", "a", "s", "tab", "rPh"})
_TELLING = frozenset({"href", "descr", "title", "string-value", "value", "author", "alt"})
"""Attributes that hold words of the author's. The target of a link counts too, where it lies outside the file."""

_LABEL_PROPERTY = re.compile(rb"MSIP_Label_([0-9A-Fa-f-]{36})_Enabled")
_LABEL_INFO = re.compile(rb'<(?:\w+:)?label\s[^>]*?\bid="\{?([0-9A-Fa-f-]{36})\}?"')


class Text:
    """What has been read so far of one file, within what is left for all of them."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.unread: str | None = None
        self.labels: dict[str, None] = {}  # a set that keeps its order
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Append a piece. Raises `Full` where there is no room for all of it."""
        room = self.left
        self.left -= len(piece)
        self._pieces.append(piece if self.left >= 0 else piece[:room])
        if self.left < 0:
            self.left = 0
            raise Full

    def leave(self, what: str) -> None:
        """Note that something was not read: a picture, or (which counts for more) a file or something encrypted."""
        if self.unread is None or self.unread == "image":
            self.unread = what

    def label(self, id: str) -> None:
        """Note a label that the file carries."""
        self.labels[id.lower()] = None

    def __str__(self) -> str:
        return "".join(self._pieces)


class Full(Exception):
    """The text of the files is longer than may be read."""


class Spent(BaseException):
    """The time for reading is over. No `Exception`, so that no reader of a format takes it for a fault in its file."""


class Refused(Exception):
    """A file that is not read: too large, broken or of no kind that can be read. `args[0]` is what it counts as."""


def read_attachments(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts, each file with its text in place of what was sent. Never raises.

    Takes CPU time: at most about `CPU_SECONDS`, so it does not belong on an event loop. Only a main thread can keep to the
    limits; in any other nothing is read.
    """
    found = [msgspec.structs.replace(part, payload="") if part.payload else part for part in parts]
    into = Text(MOST_CHARACTERS)
    reading: int | None = None
    try:
        with _limited():
            for index, part in enumerate(parts):
                if part.payload:
                    into, reading = Text(into.left), index
                    found[index] = _read(part, into)
                    reading = None
    except (Spent, ValueError, MemoryError, RecursionError):
        pass  # what was not reached keeps what it counted as
    if reading is not None:
        found[reading] = _with(found[reading], into, "file")
    return tuple(found)


def _read(part: Part, into: Text) -> Part:
    try:
        content = content_of(part.payload)
    except Refused:  # whatever stands there instead is sent all the same
        content = None
    try:
        if content is None:
            into.leave("file")
            into.add(part.payload)
        else:
            extract(content, into)
    except Refused as refusal:
        into.leave(str(refusal))
    except Exception:  # a broken file, or a reader that fails at it: what it gave until then counts, the rest is unread
        into.leave("file")
    if not str(into).strip():  # nobody sends a file to say nothing
        into.leave("file")
    return _with(part, into, into.unread)


def _with(part: Part, into: Text, unread: str | None) -> Part:
    return msgspec.structs.replace(part, payload="", text=str(into), unreadable=unread, labels=tuple(into.labels))


def content_of(payload: str) -> bytes:
    """The bytes of a data URI or of plain base64. Raises Refused."""
    head, comma, data = payload.partition(",") if payload[:5].lower() == "data:" else ("", "", payload)
    if comma and not head.lower().endswith(";base64"):
        raise Refused("file")
    try:
        return b64decode("".join(data.split()), validate=True)
    except ValueError:
        raise Refused("file") from None


def extract(content: bytes, into: Text) -> None:
    """Read the text of a file. Raises Refused, Full, and whatever a reader raises at a broken file."""
    if b"%PDF-" in content[:_PDF_START]:
        _pdf_reader().extract(content, into)
    elif content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _office(content, into)
    else:
        _plain(content, into)


def _pdf_reader() -> Any:
    """The module for PDF. Loading it takes 20 MiB, which a process that never meets a PDF should not pay, and a third of a
    second, for which the file is not to blame."""
    left, _ = signal.setitimer(signal.ITIMER_PROF, 0)
    try:
        return importlib.import_module("classifiers.sensitivity.pdf")
    finally:
        signal.setitimer(signal.ITIMER_PROF, left, _AGAIN)


@contextmanager
def _limited() -> Iterator[None]:
    """Limits on CPU time and memory. Raises Spent when the time is over, ValueError outside the main thread."""
    armed = True

    def spent(_signal: int, frame: FrameType | None) -> None:
        if armed and not (frame is not None and frame.f_code.co_name in _LOSING):
            raise Spent

    before = signal.signal(signal.SIGPROF, spent)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    try:
        _may_grow(limits)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS, _AGAIN)
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)


def _may_grow(limits: tuple[int, int]) -> None:
    """Bound the memory, where the system says how much is in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    bound = pages * resource.getpagesize() + MEMORY_BYTES
    if all(limit == resource.RLIM_INFINITY or bound < limit for limit in limits):
        resource.setrlimit(resource.RLIMIT_AS, (bound, limits[1]))


def _plain(content: bytes, into: Text) -> None:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            into.add(content.decode(encoding))
            return
    if len(content.translate(None, _CONTROLS)) < len(content):
        raise Refused("file")
    try:
        into.add(content.decode())
    except UnicodeDecodeError:
        # A single-byte encoding. Its ASCII part reads alike in all of them; with many other characters it may be anything.
        if (len(content) - len(content.translate(None, _NOT_ASCII))) > _MOST_FOREIGN * len(content):
            into.leave("file")
        into.add(content.decode("cp1252", "replace"))


# Office files: archives of XML


def _office(content: bytes, into: Text) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            raise Refused("file")
        names = {member.filename.lower() for member in members}
        if not names & {"[content_types].xml", "mimetype"}:
            raise Refused("file")  # some other archive
        left = MOST_EXPANDED_BYTES
        shared: list[str] = []
        for member in sorted(members, key=lambda each: _turn(each.filename)):
            name = member.filename.lower()
            if member.flag_bits & 1 or name in ("encryptedpackage", "encryptioninfo"):
                raise Refused("encrypted")
            if member.is_dir() or member.file_size == 0 or any(word in name for word in _NO_CONTENT):
                continue
            if not name.endswith(_XML):
                into.leave("image" if name.endswith(_PICTURES) else "file")
                continue
            data = _expanded(archive, member, left)
            left -= len(data)
            if name.endswith("manifest.xml") and b"encryption-data" in data:
                raise Refused("encrypted")
            _member(name, data, shared, into)


def _turn(name: str) -> tuple[int, str]:
    """When a part of the archive is read: the text proper before what belongs to it, cells after the words they point to."""
    lowered = name.lower()
    if lowered.endswith("sharedstrings.xml"):
        return 0, name
    if lowered.startswith(("word/document", "xl/worksheets/sheet", "ppt/slides/slide", "content.xml")):
        return 1, name.rjust(40)  # slide2 before slide10
    return 2, name


def _expanded(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> bytes:
    """A part of the archive; what it says of its own size is not believed. Raises Refused."""
    most = min(left, max(_FREE_EXPANSION, MOST_RATIO * member.compress_size))
    with archive.open(member) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise Refused("file")
    return data


def _member(name: str, data: bytes, shared: list[str], into: Text) -> None:
    for found in (*_LABEL_PROPERTY.findall(data), *(_LABEL_INFO.findall(data) if name.endswith("labelinfo.xml") else ())):
        into.label(found.decode())
    if name.endswith((".txt", ".html", ".htm")):
        _plain(data, into)
        return
    target: _Words | _Strings | _Cells
    if name.endswith("sharedstrings.xml"):
        target = _Strings(shared)
    elif "/worksheets/" in name and name.endswith(".xml"):
        target = _Cells(shared, into)
    else:
        target = _Words(into)
    parser = DefusedXMLParser(target=target, forbid_dtd=True)
    parser.feed(data)
    parser.close()
    into.add("\n")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Words:
    """Collects the text of any XML: runs of a paragraph joined, everything else a line of its own."""

    def __init__(self, into: Text) -> None:
        self._into = into
        self._wrote = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._wrote = False
        for name, value in attributes.items():
            local = _local(name)
            if value and (local in _TELLING or (local == "Target" and attributes.get("TargetMode") == "External")):
                self._into.add(value + "\n")
        if _local(tag) == "tab":
            self._into.add("\t")
        elif _local(tag) == "s":  # a run of spaces in OpenDocument; other formats have no such element
            self._into.add(" ")

    def data(self, data: str) -> None:
        if data.isspace() and "\n" in data:  # only the form in which the XML was written
            return
        self._into.add(data)
        self._wrote = self._wrote or not data.isspace()

    def end(self, tag: str) -> None:
        local = _local(tag)
        if local in _BLOCKS or (self._wrote and local not in _INLINE):
            self._into.add("\n")
        self._wrote = False

    def close(self) -> None:
        """Nothing is left over."""


class _Strings:
    """Collects the words that the cells of a workbook point to."""

    def __init__(self, shared: list[str]) -> None:
        self._shared = shared
        self._pieces: list[str] = []
        self._inside = False

    def start(self, tag: str, _attributes: dict[str, str]) -> None:
        self._inside = _local(tag) == "t"

    def data(self, data: str) -> None:
        if self._inside:
            self._pieces.append(data)

    def end(self, tag: str) -> None:
        self._inside = False
        if _local(tag) == "si":
            self._shared.append("".join(self._pieces))
            self._pieces.clear()

    def close(self) -> None:
        """Nothing is left over."""


class _Cells:
    """Collects a sheet row by row. Each value has the head of its column before it, without which a number says nothing."""

    def __init__(self, shared: list[str], into: Text) -> None:
        self._shared = shared
        self._into = into
        self._heads: dict[str, str] = {}
        self._first = True
        self._column = ""
        self._kind = ""
        self._pieces: list[str] = []
        self._tag = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._tag = _local(tag)
        if self._tag == "c":
            self._column = attributes.get("r", "").rstrip("0123456789")
            self._kind = attributes.get("t", "")
            self._pieces.clear()

    def data(self, data: str) -> None:
        if self._tag in ("v", "t"):
            self._pieces.append(data)
        elif self._tag in ("f", "oddHeader", "oddFooter"):  # a formula may hold words of its own
            self._into.add(data + "\t")

    def end(self, tag: str) -> None:
        self._tag = ""
        local = _local(tag)
        if local == "c":
            value = self._value()
            if value and self._first:
                self._heads[self._column] = value
            head = "" if self._first else self._heads.get(self._column, "")
            if value:
                self._into.add(f"{head}: {value}\t" if head else f"{value}\t")
        elif local == "row":
            self._first = self._first and not self._heads
            self._into.add("\n")

    def _value(self) -> str:
        value = "".join(self._pieces)
        self._pieces.clear()
        if self._kind == "s" and value.isascii() and value.isdigit() and len(value) < 9 and int(value) < len(self._shared):
            return self._shared[int(value)]
        return value

    def close(self) -> None:
        """Nothing is left over."""
