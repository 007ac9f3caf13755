"""What must hold for every input of the decoders, the detectors and the readers of files, whoever makes the inputs up."""

from __future__ import annotations

import base64
import gzip
import io
import resource
import signal
import zipfile
from collections.abc import Callable
from datetime import date
from functools import cache
from urllib.parse import quote_from_bytes

from classifiers.sensitivity import attachments, decode, normalise, seams
from classifiers.sensitivity.attachments import read_attachments
from classifiers.sensitivity.engine import Detector
from classifiers.sensitivity.normalise import Replaced
from routing_rules.load import load, shipped
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import ScanState
from tests.benchmarks.cpu_time import within

Check = Callable[[bytes], None]

CPU_SECONDS = 1.0
"""What any text of less than `REPEATED_CHARACTERS` may take, on a machine that does other things too."""

REPEATED_CHARACTERS = 200_000
_INFLATED = 500_000  # characters that compressed data may unfold to
_EXPANDS = 18  # characters that one may stand for: the longest compatibility decomposition
_SURELY_READ = 2_000  # characters that no budget is too small for, however they are written
_LAYERS: tuple[Callable[[bytes], bytes], ...] = (
    base64.b64encode,
    lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    lambda data: data.hex().encode(),
    lambda data: quote_from_bytes(data).encode(),
    lambda data: b"".join(b"%%%02X" % byte for byte in data),
    lambda data: "".join(f"&#{ord(each)};" for each in text_of(data)).encode(),
    lambda data: "".join(f"\\u{ord(each) & 0xFFFF:04x}" for each in text_of(data)).encode(),
    lambda data: base64.b64encode(gzip.compress(data, mtime=0)),
)


def text_of(data: bytes) -> str:
    """A text for any bytes. What is no UTF-8 becomes lone surrogates, which JSON can hold too."""
    return data.decode("utf-8", "surrogateescape")


@cache
def _detectors() -> tuple[Detector, ...]:
    """One for each engine there is."""
    policy = load(shipped(date(2026, 11, 23))).sensitivity
    found = [Detector(policy, b"a key for fuzzing", "aho-corasick")]
    try:
        found.append(Detector(policy, b"a key for fuzzing", "hyperscan"))
    except AttributeError:  # no Hyperscan on this platform
        pass
    return tuple(found)


def _parts(*texts: str) -> list[Part]:
    return [Part(Role.USER, Provenance.USER, text, f"messages[{turn}]", turn) for turn, text in enumerate(texts)]


def _in_order(found: list[Replaced], length: int) -> None:
    """Spans and those of their pieces lie inside the text; spans do not overlap, and stand in order."""
    position = 0
    for start, end, pieces in found:
        assert position <= start < end <= length
        position = end
        for _, first, last in pieces:
            assert start <= first <= last <= end


def _mapped(text: str, found: list[Replaced]) -> None:
    """A view of the text leads back from every place in it to a place of the text."""
    view = normalise.view_of(text, found)
    if view is None:
        assert not found
        return
    shown = view.text
    assert len(view) == len(shown)
    for place in range(0, len(shown), max(len(shown) // 50, 1)):
        for end in (place + 1, min(place + 7, len(shown)), len(shown)):
            first, last = view.origin(place, end)
            assert 0 <= first < last <= len(text)


def decoding(data: bytes) -> None:
    """`decode.decoded`: spans in order and inside, no more text than the budget, complete where nothing was large."""
    text = text_of(data)
    raw = text.encode("utf-8", "replace")
    with within(CPU_SECONDS):
        found, complete = decode.decoded(raw, ascii_only=len(raw) == len(text))
    _in_order(found, len(text))
    unfolded = sum(len(piece) for _, _, pieces in found for piece, _, _ in pieces)
    assert unfolded <= 3 * (len(text) + _INFLATED)  # each of three depths is read
    assert complete or unfolded + len(text) > _SURELY_READ
    _mapped(text, found)


def undisguising(data: bytes) -> None:
    """`normalise.undisguised` and `view_of`: the same, and every character that is no disguise stays."""
    text = text_of(data)
    with within(CPU_SECONDS):
        found, complete = normalise.undisguised(text, text.encode("utf-8", "replace"))
    assert complete
    _in_order(found, len(text))
    assert sum(len(piece) for _, _, pieces in found for piece, _, _ in pieces) <= _EXPANDS * len(text)
    _mapped(text, found)


def nesting(data: bytes) -> None:
    """Codes in codes, as the first bytes say: what stands in them is found as where it stands open."""
    layers, text = data[:4], text_of(data[4:])
    inner = text.encode("utf-8", "replace")
    for layer in layers[: layers[0] % 4] if layers else b"":
        inner = _LAYERS[layer % len(_LAYERS)](inner)
        if len(inner) > 30_000:
            return
    decoding(inner)
    scanning(inner)


def seaming(data: bytes) -> None:
    """`seams`: what is joined leads back into the text, and a seam lies where two sides meet."""
    text = text_of(data)
    joined = seams.Seams()
    with within(CPU_SECONDS):
        seams.between_lines(joined, text)
    shown = joined.view.text
    for place in range(0, len(shown), max(len(shown) // 50, 1)):
        if not shown.startswith(seams.SEPARATOR, place) and shown[place] == "\0":
            continue
        first, last = joined.view.origin(place, place + 1)
        assert 0 <= first <= last <= len(text)
    if text:
        head, tail = seams.edges(text)
        assert 0 <= head < len(seams.MEETS)
        assert 0 <= tail < len(seams.MEETS)


def scanning(data: bytes) -> None:
    """`Detector.scan`: no failure, findings inside, the bytes counted, the same by every engine; in one part and in two."""
    text = text_of(data)
    for texts in ((text,), (text[: len(text) // 2], text[len(text) // 2 :])):
        scans = []
        for detector in _detectors():
            with within(CPU_SECONDS):
                scans.append(detector.scan(_parts(*texts)))
        scan = scans[0]
        assert all(each.findings == scan.findings and each.state is scan.state for each in scans), "the engines differ"
        assert scan.scanned_bytes == sum(len(each.encode("utf-8", "replace")) for each in texts)
        for finding in scan.findings:
            assert 0 <= finding.start < finding.end <= len(texts[finding.part])
        assert scan.state is ScanState.COMPLETE or _large(text), "unscanned"


def _large(text: str) -> bool:
    """Whether the text is so large, or unfolds to so much, that a budget may be spent."""
    raw = text.encode("utf-8", "replace")
    found, complete = decode.decoded(raw, ascii_only=len(raw) == len(text))
    unfolded = sum(len(piece) for _, _, pieces in found for piece, _, _ in pieces)
    return not complete or unfolded + len(text) > _SURELY_READ


def repeating(data: bytes) -> None:
    """A few characters over and over take no longer than as many others."""
    unit = text_of(data[:64])
    if not unit:
        return
    text = unit * (REPEATED_CHARACTERS // len(unit))
    for detector in _detectors():
        with within(CPU_SECONDS):
            scan = detector.scan(_parts(text))
        for finding in scan.findings:
            assert 0 <= finding.start < finding.end <= len(text)


def reading(data: bytes) -> None:
    """A file of any bytes: read or said to be unread, within its time and room, with the process left as it was."""
    payload = base64.b64encode(data).decode()
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    sent = [Part(Role.USER, Provenance.ATTACHMENT, "", "f", 0, None, "file", payload)]
    with within(attachments.CPU_SECONDS + 0.6):
        (part,) = read_attachments(sent)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert part.payload == ""
    assert part.text.strip() or part.unreadable
    assert len(part.text) <= attachments.MOST_CHARACTERS
    assert part.text.encode("utf-8", "replace") or part.unreadable


def reading_office(data: bytes) -> None:
    """An Office file whose parts hold any bytes."""
    names = ("word/document.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml", "docMetadata/LabelInfo.xml", "a.html")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        for number, content in enumerate(data.split(b"\xff\xff")[: len(names)]):
            archive.writestr(names[(number + len(data)) % len(names)], content)
    reading(buffer.getvalue())


def reading_pdf(data: bytes) -> None:
    """A PDF whose objects hold any bytes: page, content, fonts and what is said about the document."""
    pieces = [*data.split(b"\xff\xff"), b"", b"", b"", b""]
    content, entries, page, catalog = pieces[:4]
    objects = (
        b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>%s>>" % page,
        b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), entries, content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    out, places = b"%PDF-1.7\n", []
    for number, held in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%sendobj\n" % (number, held)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer<</Size 6/Root 1 0 R/Info 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(out)
    reading(out + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer)


CHECKS: dict[str, Check] = {
    "decoding": decoding,
    "undisguising": undisguising,
    "nesting": nesting,
    "seaming": seaming,
    "scanning": scanning,
    "repeating": repeating,
    "reading": reading,
    "office": reading_office,
    "pdf": reading_pdf,
}
"""Every check by its name. Each takes any bytes and raises AssertionError, or whatever was not to be raised."""
