"""The decision table as a workbook, and back: for people who live in spreadsheets.

Imported by whoever needs it, when it is needed: openpyxl is no part of a worker. Every cell is text, never a formula, in both directions.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.cell import Cell
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import IllegalCharacterError, InvalidFileException
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from routing_rules.export_table import LISTS, Column, Row, columns, tables, with_tables
from routing_rules.faults import LONGEST_ECHO, Fault, RuleFaults, Severity, did_you_mean
from routing_rules.rules import RuleSet

WORDS, ABOUT = "words", "about"
FORMAT = "1"
MOST_BYTES = 5_000_000
MOST_UNPACKED = 50_000_000
MOST_ROWS = 5_000
MOST_COLUMNS = 200
MOST_NOTES = 20
LONGEST_CELL = 32_767
"""Excel cuts off what is longer."""

SPARE_ROWS = 50
"""Rows below the rules that have the choices, too, so that rules can be added."""

WIDTHS = {"id": 36, "owner": 26, "reason": 60, "remedy": 60}
TEXT = "@"


def workbook(rules: RuleSet) -> bytes:
    """The decision table of a rule set as an .xlsx file. Raises RuleFaults where a text cannot stand in a cell."""
    book = Workbook()
    book.remove(book.active)
    words = book.create_sheet(WORDS)
    lists: dict[tuple[str, ...], str] = {}
    for table, rows in tables(rules).items():
        sheet = book.create_sheet(table, len(book.sheetnames) - 1)
        kinds = columns(rules, table)
        _fill(sheet, table, kinds, rows)
        for number, column in enumerate(kinds, 1):
            if column.words:
                _offer(sheet, number, column, _listed(words, lists, column), len(rows))
    about = book.create_sheet(ABOUT)
    notes = (
        ("revision", rules.revision),
        ("format", FORMAT),
        ("how", "one row is one rule, the first that matches decides; several words stand with commas between them"),
        ("bounds", "an ordered condition may also say `at_least confidential` or `at_most moderate`"),
    )
    for number, note in enumerate(notes, 1):
        for at, text in enumerate(note, 1):
            _put(about.cell(number, at), text, ABOUT)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def made_from(data: bytes, *, most_unpacked: int = MOST_UNPACKED) -> str:
    """The revision whose table a workbook was made from; empty where it does not say. `most_unpacked`: in bytes. Raises RuleFaults for
    what is no workbook, or a larger one."""
    _check_size(data, most_unpacked)
    with _reading():
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=False, keep_links=False)
        lines = book[ABOUT].iter_rows(max_row=MOST_NOTES, max_col=2, values_only=True) if ABOUT in book.sheetnames else ()
        return next((str(line[1] or "") for line in lines if len(line) > 1 and line[0] == "revision"), "")


def files_of(data: bytes, rules: RuleSet) -> dict[str, str]:
    """The files of `rules` with the decision table of a workbook. What it does not change stays to the letter, comments included; a
    sheet that is left out leaves its table as it is.

    Raises RuleFaults: each names the sheet and the cell, what was expected there, and the nearest word.
    """
    given, places, faults = _read(data, rules)

    def place(table: str, number: int, column: str) -> str:
        rows, letters = places[table]
        return f"{table}!{letters.get(column, 'A')}{rows[number]}"

    try:
        files = with_tables(rules, given, place)
    except RuleFaults as found:
        faults += [fault for fault in found.faults if fault.file not in {known.file for known in faults}]
    if faults:
        raise RuleFaults(faults)
    return files


def _fill(sheet: Worksheet, table: str, kinds: Sequence[Column], rows: Sequence[Row]) -> None:
    for number, column in enumerate(kinds, 1):
        cell = sheet.cell(1, number)
        _put(cell, column.key, table)
        cell.font = Font(bold=True)
        sheet.column_dimensions[get_column_letter(number)].width = WIDTHS.get(column.key, 18)
    for line, row in enumerate(rows, 2):
        for number, column in enumerate(kinds, 1):
            _put(sheet.cell(line, number), row.get(column.key, ""), table)
    for line in range(len(rows) + 2, len(rows) + 2 + SPARE_ROWS):
        for number in range(1, len(kinds) + 1):
            sheet.cell(line, number).number_format = TEXT  # what is typed there stays what was typed
    sheet.freeze_panes = "B2"


def _put(cell: Cell, text: str, sheet: str) -> None:
    """A text into a cell, as a text whatever it begins with."""
    try:
        if len(text) > LONGEST_CELL:
            raise ValueError(f"a cell holds at most {LONGEST_CELL} characters")
        if text:
            cell.value = text
            cell.data_type = "s"
    except (IllegalCharacterError, ValueError) as error:
        why = str(error) if type(error) is ValueError else "a character cannot stand in a workbook"
        raise RuleFaults([Fault(Severity.ERROR, "not_a_cell", f"{sheet}!{cell.coordinate}", 0, 0, why)]) from None
    cell.number_format = TEXT
    cell.quotePrefix = True  # a spreadsheet must not run a text that begins like a formula
    cell.alignment = Alignment(vertical="top", wrap_text=True)


def _listed(words: Worksheet, lists: dict[tuple[str, ...], str], column: Column) -> str:
    """The range of the sheet of words that holds the choices of a column."""
    known = lists.get(column.words)
    if known is None:
        number = len(lists) + 1
        for line, word in enumerate((column.key, *column.words), 1):
            _put(words.cell(line, number), word, WORDS)
        letter = get_column_letter(number)
        known = lists[column.words] = f"{WORDS}!${letter}$2:${letter}${len(column.words) + 1}"
    return known


def _offer(sheet: Worksheet, number: int, column: Column, choices: str, rows: int) -> None:
    """A list to choose from. Where several words may stand, it offers them but lets others through: the import looks at each word."""
    several = column.kind == "words"
    validation = DataValidation(
        type="list", formula1=choices, allow_blank=True, showErrorMessage=not several, showInputMessage=True
    )
    validation.errorTitle, validation.error = "Unknown word", "Choose one of the list."
    validation.promptTitle = column.key[:32]
    validation.prompt = "Several words stand with commas between them." if several else "One of the list."
    letter = get_column_letter(number)
    validation.add(f"{letter}2:{letter}{rows + 1 + SPARE_ROWS}")
    sheet.add_data_validation(validation)


Places = dict[str, tuple[list[int], dict[str, str]]]
"""By sheet: the number of the row of each rule, and the letter of each column."""


def _read(data: bytes, rules: RuleSet) -> tuple[dict[str, list[Row]], Places, list[Fault]]:
    _check_size(data, MOST_UNPACKED)
    with _reading():
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=False, keep_links=False)
        sheets: Mapping[str, Any] = {name: book[name] for name in book.sheetnames}
        found: dict[str, list[Row]] = {}
        places: Places = {}
        faults: list[Fault] = []
        for name in sheets:
            if name in LISTS:
                sheets[name].reset_dimensions()  # what the file says of its own size may be old, and rows would be left out
                found[name], places[name] = _rows(
                    name, sheets[name].iter_rows(max_col=MOST_COLUMNS), columns(rules, name), faults
                )
            elif name not in (WORDS, ABOUT):
                hint = did_you_mean(name, [*LISTS]) or f"expected {', '.join(f'`{each}`' for each in LISTS)}"
                faults.append(_fault(name, "unknown_sheet", f"unknown sheet `{name[:LONGEST_ECHO]}`", hint))
    if not found:
        faults.append(
            _fault(
                "workbook",
                "missing_sheet",
                "there is no table in it",
                f"expected a sheet {' or '.join(f'`{each}`' for each in LISTS)}",
            )
        )
    return found, places, faults


@contextmanager
def _reading() -> Iterator[None]:
    """What reading a file raises that is a workbook in its name only, as a fault. Raises RuleFaults."""
    try:
        yield
    except RuleFaults:
        raise
    except (
        InvalidFileException,
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        SyntaxError,  # broken XML
    ) as error:
        raise RuleFaults(
            [_fault("workbook", "not_a_workbook", f"this is no workbook that can be read ({type(error).__name__})")]
        ) from None


def _check_size(data: bytes, most_unpacked: int) -> None:
    """Refuse what would be huge once unpacked, before anything is. Raises RuleFaults."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError):
        raise RuleFaults([_fault("workbook", "not_a_workbook", "this is no .xlsx file")]) from None
    if len(data) > MOST_BYTES or unpacked > most_unpacked:
        raise RuleFaults(
            [_fault("workbook", "too_large", f"a workbook has at most {MOST_BYTES} bytes, {most_unpacked} unpacked")]
        )


def _rows(
    name: str, lines: Iterable[Sequence[Any]], kinds: Sequence[Column], faults: list[Fault]
) -> tuple[list[Row], tuple[list[int], dict[str, str]]]:
    keys = [column.key for column in kinds]
    letters: dict[str, str] = {}
    heads: dict[int, str] = {}
    rows: list[Row] = []
    numbers: list[int] = []
    for line, cells in enumerate(lines, 1):
        if line > MOST_ROWS:
            faults.append(_fault(name, "too_large", f"a sheet has at most {MOST_ROWS} rows"))
            break
        texts = {at: _cell(name, line, at, cell, faults) for at, cell in enumerate(cells) if cell.value is not None}
        if line == 1:
            for at, head in texts.items():
                key, where = head.strip(), f"{name}!{get_column_letter(at + 1)}1"
                if key not in keys:
                    expected = did_you_mean(key, keys) or f"expected one of {', '.join(f'`{each}`' for each in keys[:12])}, …"
                    faults.append(_fault(where, "unknown_column", f"unknown column `{key[:LONGEST_ECHO]}`", expected))
                elif key in letters:
                    faults.append(_fault(where, "duplicate_column", f"the column `{key}` is there twice"))
                else:
                    letters[key], heads[at] = get_column_letter(at + 1), key
            missing = [column.key for column in kinds if column.required and column.key not in letters]
            faults += [_fault(f"{name}!A1", "missing_column", f"the column `{key}` is missing") for key in missing]
            continue
        if not any(text.strip() for text in texts.values()):
            continue
        for at in sorted(set(texts) - set(heads)):
            if texts[at].strip():
                where = f"{name}!{get_column_letter(at + 1)}{line}"
                faults.append(_fault(where, "unknown_column", "this cell has no column", "name its column in the first row"))
        rows.append({heads[at]: text for at, text in texts.items() if at in heads and text.strip()})
        numbers.append(line)
    return rows, (numbers, letters)


def _cell(sheet: str, line: int, at: int, cell: Any, faults: list[Fault]) -> str:
    """A cell as a text. A formula is a fault: its result is nobody's word."""
    where = f"{sheet}!{get_column_letter(at + 1)}{line}"
    value = cell.value
    if cell.data_type == "f" or not isinstance(value, str | bool | int | float | datetime | date):
        faults.append(_fault(where, "formula", "a formula is not taken; expected a text", "paste its value as text"))
    elif cell.data_type == "e":
        faults.append(_fault(where, "wrong_type", "the cell holds an error; expected a text"))
    elif isinstance(value, bool):
        return str(value).lower()
    elif isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    elif isinstance(value, float) and value.is_integer():
        return str(int(value))
    else:
        return str(value)
    return ""


def _fault(where: str, code: str, message: str, hint: str = "") -> Fault:
    return Fault(Severity.ERROR, code, where, 0, 0, message, hint)
