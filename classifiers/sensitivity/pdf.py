"""The text of PDF files: pages, form fields, notes, links and what is said about the document."""

from __future__ import annotations

import io
import logging
import re
from typing import Any

import pypdf
from pypdf.errors import DependencyError, FileNotDecryptedError
from pypdf.generic import ArrayObject, DictionaryObject

from classifiers.sensitivity.attachments import Refused, Text

MOST_PAGES = 500
_MOST_OBJECTS = 200_000
_STREAM_BYTES = 16 * 1024 * 1024
_WRITTEN = 40
"""A page with a picture and fewer characters than that is taken for a scan."""

_FRAME_BYTES = 200

_LABEL = re.compile(r"MSIP_Label_([0-9A-Fa-f-]{36})_Enabled")
_LIMITS: dict[str, Any] = {
    "maximum_declared_stream_length": _STREAM_BYTES,
    "array_based_stream_maximum_output_length": _STREAM_BYTES,
    "lzw_maximum_output_length": _STREAM_BYTES,
    "run_length_maximum_output_length": _STREAM_BYTES,
    "zlib_maximum_output_length": _STREAM_BYTES,
    "brotli_maximum_output_length": _STREAM_BYTES,
    "jbig2dec_binary": None,  # no other program is started for a file that somebody sent
    "disable_legacy_handling": True,
}

logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)  # its remarks quote the file


def extract(content: bytes, into: Text) -> None:
    """Read a PDF. Raises Refused for an encrypted one, and whatever the reader raises at a broken one."""
    with pypdf.apply_configuration(**_LIMITS):
        reader = pypdf.PdfReader(io.BytesIO(content), xref_stream_maximum_entries=_MOST_OBJECTS)
        try:
            if reader.is_encrypted and not reader.decrypt(""):
                raise Refused("encrypted")
            _document(reader, into)
        except (FileNotDecryptedError, DependencyError):
            raise Refused("encrypted") from None


def _document(reader: pypdf.PdfReader, into: Text) -> None:
    _about(reader, into)
    if not reader.pages:
        into.leave("file")
    for number, page in enumerate(reader.pages):
        if number == MOST_PAGES:
            into.leave("file")
            return
        _page(page, into)
    for name, field in (reader.get_fields() or {}).items():
        into.add(f"{name}: {field.value}\n" if isinstance(field.value, str) else f"{name}\n")
    if any(True for _ in reader.attachment_list):
        into.leave("file")


def _about(reader: pypdf.PdfReader, into: Text) -> None:
    for name, value in (reader.metadata or {}).items():
        if found := _LABEL.search(name):
            into.label(found[1])
        elif isinstance(value, str):
            into.add(f"{value}\n")


def _page(page: pypdf.PageObject, into: Text) -> None:
    text = page.extract_text()
    into.add(text + "\n")
    if len(text.strip()) < _WRITTEN and (_has_picture(page) or (not text.strip() and _is_drawn(page))):
        into.leave("file")
    elif _has_picture(page):
        into.leave("image")
    for note in _resolved(page.get("/Annots")) or ():
        note = _resolved(note)
        if isinstance(note, DictionaryObject):
            for value in (note.get("/Contents"), note.get("/V"), _entry(note.get("/A"), "/URI")):
                if isinstance(_resolved(value), str):
                    into.add(f"{_resolved(value)}\n")


def _has_picture(page: pypdf.PageObject) -> bool:
    objects = _resolved(_entry(page.get("/Resources"), "/XObject"))
    if not isinstance(objects, DictionaryObject):
        return False
    return any(_entry(each, "/Subtype") == "/Image" for each in objects.values())


def _is_drawn(page: pypdf.PageObject) -> bool:
    """Whether more stands on a page without text than the frame of an empty one: letters may be drawn as lines."""
    contents = page.get_contents()
    return contents is not None and len(contents.get_data()) > _FRAME_BYTES


def _entry(value: Any, name: str) -> Any:
    value = _resolved(value)
    return _resolved(value.get(name)) if isinstance(value, DictionaryObject) else None


def _resolved(value: Any) -> Any:
    value = value.get_object() if value is not None and hasattr(value, "get_object") else value
    return value if isinstance(value, ArrayObject | DictionaryObject | str) else None
