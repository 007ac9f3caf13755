"""Files that are sent along are read within limits; a hostile one costs a second at most and never passes for read."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.assess import Assessor
from classifiers.sensitivity import attachments
from classifiers.sensitivity.attachments import read_attachments
from router.api.wire import parse
from router.stages.classify import is_long
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import ScanState, Sensitivity
from tests.benchmarks.cpu_time import within

IBAN = "DE02 1203 0000 0000 2020 51"
CELL = '<c r="{}" t="s"><v>{}</v></c>'


def sent(content: bytes, head: str = "") -> Part:
    payload = head + b64encode(content).decode()
    return Part(Role.USER, Provenance.ATTACHMENT, "", "messages[0].content[0].file.file_data", 0, None, "file", payload)


def read(content: bytes, head: str = "") -> Part:
    return read_attachments([sent(content, head)])[0]


def zipped(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"[Content_Types].xml": "<Types/>", **members}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def word(*paragraphs: str, **members: str | bytes) -> bytes:
    body = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return zipped({"word/document.xml": f'<w:document xmlns:w="urn:w"><w:body>{body}</w:body></w:document>', **members})


def pdf_of(objects: list[bytes]) -> bytes:
    out, places = b"%PDF-1.7\n", []
    for number, held in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj" % number + held + b"endobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        size,
        table,
        size,
        len(out),
    )


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), entries, content)


def pdf(content: bytes, entries: bytes = b"", resources: bytes = b"", catalog: bytes = b"", page: bytes = b"", more: tuple[bytes, ...] = ()) -> bytes:  # fmt: skip
    return pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>%s>>%s>>"
            % (resources, page),
            stream(content, entries),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            *more,
        ]
    )


def shown(*lines: str) -> bytes:
    return b"BT /F1 12 Tf 72 720 Td 14 TL " + b" ".join(b"(%s) Tj T*" % line.encode() for line in lines) + b" ET"


PICTURE = (stream(b"\0", b"/Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8"),)
WITH_PICTURE = b"/XObject<</I 6 0 R>>"
LONG_LINE = "a page of a report with enough words on it to be no scan"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grüße aus Köln, und noch viele Wörter mehr".encode(), "Grüße aus Köln"),
        ("Grüße aus Köln, und noch viele Wörter mehr".encode("cp1252"), "Grüße aus Köln"),
        ("Grüße".encode("utf-16"), "Grüße"),
        (b"\xef\xbb\xbfa,b\n1,2", "a,b\n1,2"),
        (word("Account", IBAN), f"Account\n{IBAN}\n"),
        (pdf(shown("Account", IBAN)), f"Account\n{IBAN}"),
        (pdf(zlib.compress(shown(IBAN)), b"/Filter/FlateDecode"), IBAN),
    ],
    ids=["utf-8", "one byte a letter", "utf-16", "byte order mark", "word", "pdf", "pdf compressed"],
)
def test_a_file_with_text_is_read_whole(content: bytes, text: str) -> None:
    part = read(content)
    assert text in part.text
    assert (part.unreadable, part.payload) == (None, "")


def test_what_a_file_is_shows_in_its_bytes_and_not_in_the_type_it_is_given() -> None:
    assert IBAN in read(word(IBAN), "data:text/plain;base64,").text
    assert IBAN in read(pdf(shown(IBAN)), "data:image/png;base64,").text
    assert read(f"see {IBAN}".encode(), "data:application/pdf;base64,").text == f"see {IBAN}"


def test_runs_of_a_paragraph_are_one_text_and_everything_else_stands_apart() -> None:
    runs = "<w:p><w:r><w:t>DE02 1203 0000</w:t></w:r><w:proofErr/><w:r><w:t> 0000 2020 51</w:t></w:r></w:p>"
    parts = {
        "word/document.xml": f'<w:document xmlns:w="urn:w">{runs}</w:document>',
        "word/comments.xml": '<c:comments xmlns:c="urn:c"><c:comment c:author="Ann Other"><c:t>a remark</c:t></c:comment></c:comments>',
        "word/_rels/document.xml.rels": '<Relationships><Relationship Target="mailto:ann@example.net" TargetMode="External"/></Relationships>',
        "docProps/app.xml": "<Properties><Pages>4111</Pages><Words>1111</Words></Properties>",
    }
    text = read(zipped(dict(parts))).text
    assert all(part in text for part in (IBAN, "a remark", "Ann Other", "mailto:ann@example.net"))
    assert "4111\n1111" in text


def test_cells_of_a_sheet_keep_their_row_and_are_told_their_column() -> None:
    strings = "<sst><si><t>Name</t></si><si><t>SSN</t></si><si><r><t>An</t></r><r><t>na</t></r></si></sst>"
    first = f'<row r="1">{CELL.format("A1", 0)}{CELL.format("B1", 1)}</row>'
    second = f'<row r="2">{CELL.format("A2", 2)}<c r="B2"><v>219099998</v></c></row>'
    third = '<row r="3"><c r="A3" t="inlineStr"><is><t>Bo</t></is></c><c r="B3" t="s"><v>99</v></c></row>'
    sheet = f"<worksheet><sheetData>{first}{second}{third}</sheetData></worksheet>"
    text = read(zipped({"xl/worksheets/sheet1.xml": sheet, "xl/sharedStrings.xml": strings})).text
    assert "Name\tSSN\t\nName: Anna\tSSN: 219099998\t\nName: Bo\tSSN: 99\t\n" in text


def test_slides_and_open_document_texts_are_read_in_their_order() -> None:
    slides = {f"ppt/slides/slide{n}.xml": f'<p xmlns:a="urn:a"><a:t>slide {n}</a:t></p>' for n in (10, 2, 1)}
    text = read(zipped(dict(slides))).text
    assert text.index("slide 1\n") < text.index("slide 2\n") < text.index("slide 10\n")
    odt = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": "<d><p>one<s/><span>two</span><tab/>three<line-break/>four</p></d>",
    }
    assert "one two\tthree\nfour\n" in read(zipped(dict(odt))).text


def test_form_fields_notes_links_and_properties_of_a_pdf_are_read() -> None:
    more = (
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(iban)/V(%s)/Rect[0 0 1 1]>>" % IBAN.encode(),
        b"<</Type/Annot/Subtype/Link/Rect[0 0 1 1]/A<</S/URI/URI(https://intranet.example/x)>>/Contents(a note)>>",
    )
    content = pdf(shown(LONG_LINE), catalog=b"/AcroForm<</Fields[6 0 R]>>", page=b"/Annots[6 0 R 7 0 R]", more=more)
    part = read(content)
    assert part.unreadable is None
    assert all(text in part.text for text in (LONG_LINE, f"iban: {IBAN}", "https://intranet.example/x", "a note"))


@pytest.mark.parametrize(
    ("content", "unread"),
    [
        (word("text", **{"word/media/logo.png": b"\x89PNG"}), "image"),
        (word("text", **{"word/embeddings/other.xlsx": b"PK\x03\x04"}), "file"),
        (word("text", **{"word/vbaProject.bin": b"\xd0\xcf", "word/media/logo.png": b"\x89PNG"}), "file"),
        (pdf(shown(LONG_LINE), resources=WITH_PICTURE, more=PICTURE), "image"),
        (pdf(b"q /I Do Q", resources=WITH_PICTURE, more=PICTURE), "file"),
        (pdf(b"0 0 m 9 9 l S " * 100), "file"),
        (zipped({"META-INF/manifest.xml": "<m><encryption-data/></m>", "content.xml": "<p>x</p>"}), "encrypted"),
        (pdf_of([b"<</Type/Catalog>>"]).replace(b"/Root", b"/Encrypt<</Filter/Standard/V 1/R 2/O(a)/U(b)/P 0>>/Root"), "encrypted"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "file"),
        (b"%PDF-1.7 and no more", "file"),
        (b"PK\x03\x04 and no more", "file"),
        (word("text")[:-40], "file"),
        ("字は多くてどれも読めない".encode("shift-jis"), "file"),
    ],
)  # fmt: skip
def test_what_was_not_read_of_a_file_is_named(content: bytes, unread: str) -> None:
    assert read(content).unreadable == unread


def test_what_could_be_read_counts_beside_what_could_not() -> None:
    part = read(word(IBAN, **{"word/embeddings/other.bin": b"\0"}))
    assert (IBAN in part.text, part.unreadable) == (True, "file")


def test_labels_that_a_file_carries_are_told() -> None:
    one, other = "2096f6a2-d2f7-48be-b329-b73aaa526e5d", "0f1a2b3c-0000-4000-8000-aaaaaaaaaaaa"
    custom = f'<Properties><property name="MSIP_Label_{one.upper()}_Enabled"><v>true</v></property></Properties>'
    info = f'<clbl:labelList xmlns:clbl="urn:c"><clbl:label id="{{{other}}}" enabled="1"/></clbl:labelList>'
    assert read(word("x", **{"docProps/custom.xml": custom, "docMetadata/LabelInfo.xml": info})).labels == (other, one)
    titled = pdf(shown(LONG_LINE), more=(f"<</MSIP_Label_{one}_Enabled(true)/Title(Plan)>>".encode(),))
    assert read(titled.replace(b"/Root 1 0 R", b"/Root 1 0 R/Info 6 0 R")).labels == (one,)


# Hostile files


HOSTILE = {
    "a member that unfolds a thousandfold": word("a" * 60_000_000),
    "more members than any document has": zipped({f"a{n}.xml": "<a/>" for n in range(attachments.MOST_MEMBERS + 1)}),
    "entities": zipped({"word/document.xml": '<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><l>&b;</l>'}),
    "an entity from elsewhere": zipped({"word/document.xml": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>'}),
    "elements in elements": zipped({"word/document.xml": "<a>" * 300_000}),
    "a stream that unfolds a thousandfold": pdf(zlib.compress(b" " * 60_000_000), b"/Filter/FlateDecode"),
    "codes in codes": pdf(zlib.compress(zlib.compress(b"0 " * 20_000_000)), b"/Filter[/FlateDecode/FlateDecode]"),
    "lists in lists": pdf(b"[" * 200_000),
    "more text on a page than can be read in time": pdf(zlib.compress(shown(*["hello there"] * 200_000)), b"/Filter/FlateDecode"),
    "the same page over and over": pdf_of(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[" + b"3 0 R " * 100_000 + b"]/Count 100000>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
        ]
    ),
    "pages that hold themselves": pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R]/Count 1>>"]),
    "no objects, many ends": b"%PDF-1.7\n" + b"\nstartxref\n0\n%%EOF" * 100_000,
    "an open bracket": b"%PDF-1.7\n" + b"(" * 3_000_000,
}


@pytest.mark.hostile
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_unread(content: bytes) -> None:
    read(pdf(shown("load the reader")))
    with within(attachments.CPU_SECONDS + 0.6):
        part = read(content)
    assert part.unreadable == "file"
    assert len(part.text) <= attachments.MOST_CHARACTERS


def test_all_files_of_a_task_share_the_time_and_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "MOST_CHARACTERS", 25)
    found = read_attachments([sent(b"0123456789"), sent(b"abcdefghij"), sent(b"ABCDEFGHIJ"), sent(b"more")])
    assert [part.text for part in found] == ["0123456789", "abcdefghij", "ABCDE", ""]
    assert [part.unreadable for part in found] == [None, None, "file", "file"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([word("text", IBAN), pdf(shown(LONG_LINE))]), st.integers(0, 5_000), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_never_fails_the_reading(content: bytes, place: int, junk: bytes) -> None:
    place %= len(content)
    part = read(content[:place] + junk + content[place + len(junk) :])
    assert part.payload == ""
    assert part.text or part.unreadable


@pytest.mark.parametrize("payload", ["data:,Ann", "data:text/plain,Ann", "not base64!", "====", "\ud800", "data:;base64,é"])
def test_what_is_no_base64_is_unread_and_looked_at_as_it_stands(payload: str) -> None:
    part = read_attachments([Part(Role.USER, Provenance.ATTACHMENT, "", "f", 0, None, "file", payload)])[0]
    assert (part.unreadable, part.text) == ("file", payload)


# In a request


def uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode()}"


LETTER = pdf(shown(f"IBAN {IBAN}"))
LONG = ("word " * 20_000 + f"IBAN {IBAN}").encode()


@pytest.mark.parametrize(
    ("endpoint", "content"),
    [
        (Endpoint.CHAT, {"type": "file", "file": {"filename": "a.pdf", "file_data": uri(LETTER, "application/pdf")}}),
        (Endpoint.CHAT, {"type": "file", "file": {"file_data": b64encode(LETTER).decode()}}),
        (Endpoint.CHAT, {"type": "file", "file": {"file_data": uri(LONG, "text/plain")}}),
        (Endpoint.CHAT, {"type": "file", "file": {"file_data": LONG.decode()}}),
        (Endpoint.CHAT, {"type": "image_url", "image_url": {"url": uri(LETTER, "application/pdf")}}),
        (Endpoint.RESPONSES, {"type": "input_file", "filename": "a.docx", "file_data": uri(word(IBAN), "application/x-docx")}),
        (Endpoint.RESPONSES, {"type": "input_image", "image_url": uri(LETTER, "image/png")}),
    ],
)
def test_wherever_a_file_may_stand_its_text_is_read(
    policy: SensitivityPolicy, endpoint: Endpoint, content: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": [content]}]
    body = {"model": "auto", ("messages" if endpoint is Endpoint.CHAT else "input"): messages}
    task = read_task(
        endpoint, parse(endpoint, json.dumps(body).encode()), NO_HEADERS, policy.labels, policy.unmapped_label, policy
    )
    assert is_long(task)
    result = Assessor(policy, b"key").assess(task, [])
    assert "iban" in {finding.kind for finding in result.findings}
    assert {task.parts[finding.part].provenance for finding in result.findings} == {Provenance.ATTACHMENT}


# In an assessment


def test_an_identifier_in_a_file_counts_like_one_in_a_text(policy: SensitivityPolicy) -> None:
    assessor = Assessor(policy, b"key")
    ask = Part(Role.USER, Provenance.USER, "Summarise the attached letter.", "messages[0].content[1].text", 0)
    clean = assessor.assess(Task(Endpoint.CHAT, "auto", (sent(word("Nothing much.")), ask)), [])
    assert (clean.sensitivity, clean.state) == (Sensitivity.PUBLIC, ScanState.COMPLETE)
    held = assessor.assess(Task(Endpoint.CHAT, "auto", (sent(pdf(shown(f"IBAN {IBAN}"))), ask)), [])
    assert ("iban" in {finding.kind for finding in held.findings}, held.state) == (True, ScanState.COMPLETE)
    assert {finding.part for finding in held.findings} == {0}
    unread = assessor.assess(Task(Endpoint.CHAT, "auto", (sent(b"PK\x03\x04"), ask)), [])
    assert (unread.sensitivity, unread.state) == (policy.unreadable["file"], ScanState.UNSCANNED)
