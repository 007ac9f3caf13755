"""National identity, social security and tax numbers of persons."""

from __future__ import annotations

from stdnum.au import tfn
from stdnum.be import nn
from stdnum.bg import egn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.co import nit
from stdnum.cz import rc
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.id import nik
from stdnum.ie import pps
from stdnum.in_ import aadhaar, pan
from stdnum.iso7064 import mod_11_2
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.lt import asmens
from stdnum.mx import curp
from stdnum.my import nric
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.ro import cnp
from stdnum.se import personnummer
from stdnum.th import pin
from stdnum.tr import tckimlik
from stdnum.us import itin
from stdnum.za import idnr as za_id

from classifiers.sensitivity.kinds.rule import SOME_DIGITS, Rule
from classifiers.sensitivity.validators import Check, NumberModule, digits_of, ssn, stdnum_check


def _singapore(value: str) -> bool:
    """Whether the check letter of a Singapore NRIC or FIN is right."""
    weights = (2, 7, 6, 5, 4, 3, 2)
    total = sum(int(digit) * weight for digit, weight in zip(value[1:8], weights, strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(value[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}[value[0]]
    return letters[total % 11] == value[8]


def _nino(value: str) -> bool:
    """Whether the letters can begin a UK National Insurance number."""
    return value[:2].upper() not in ("BG", "GB", "KN", "NK", "NT", "TN")


def _numbered(name: str, pattern: str, check: Check, *context: str, score: float = 0.9) -> Rule:
    """A rule whose checksum alone is too weak, so that a word must stand near."""
    return Rule(
        id=f"national.{name}",
        category="pii",
        kind=name,
        pattern=pattern,
        trigger=SOME_DIGITS,
        check=check,
        context=context,
        score=score,
    )


def _checksummed(name: str, pattern: str, module: NumberModule, *context: str) -> Rule:
    return _numbered(name, pattern, stdnum_check(module), *context)


def _chinese(value: str) -> bool:
    """Whether the check character of a Chinese resident identity number is right."""
    return bool(mod_11_2.is_valid(value.upper()))


def _any_german_tax_id(value: str) -> bool:
    return bool(idnr.is_valid(value)) and len(set(digits_of(value))) > 3


RULES = (
    Rule(
        id="national.us_ssn",
        category="pii",
        kind="us_ssn",
        pattern=r"(?:^|[^\w\-])(\d{3}-\d{2}-\d{4})\b",
        trigger=r"\d{3}-\d{2}-\d{4}",
        check=ssn,
        score=0.9,
    ),
    Rule(
        id="national.us_ssn_named",
        category="pii",
        kind="us_ssn",
        pattern=r"\b\d(?:[ ._\-]{0,2}\d){8}\b",
        trigger=SOME_DIGITS,
        check=ssn,
        context=("ssn", "social security", "social", "soc sec", "verify identity", "identity", "tax form", "taxpayer", "w-2", "w2"),
        score=0.9,
    ),
    _checksummed("us_itin", r"\b9\d{2}[ \-]?\d{2}[ \-]?\d{4}\b", itin, "itin", "taxpayer", "tax id"),
    Rule(
        id="national.uk_nino",
        category="pii",
        kind="uk_nino",
        pattern=r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        check=_nino,
        score=0.85,
    ),
    _numbered(
        "uk_nino_named", r"(?i)\b[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Z]?\b|\b[A-Z]{2} ?\d{6} ?[A-Z]?\b", _nino,
        "national insurance", "ni number", "nino", "ni no",
    ),
    _numbered(
        "de_tax_id", r"\b\d{2}[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}\b", _any_german_tax_id,
        "steuer", "steuer-id", "steuerid", "steuer id", "steuernummer", "steueridentifikationsnummer", "identifikationsnummer", "idnr", "tin",
        "steuerliche", "tax id",
    ),
    Rule(
        id="national.fr_nir",
        category="pii",
        kind="fr_nir",
        pattern=r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b",
        check=stdnum_check(nir),
        score=0.95,
    ),
    _checksummed(
        "es_dni", r"\b\d{8}[ \-]?[A-Z]\b", dni,
        "dni", "nif", "documento", "identidad", "d.n.i", "identificación", "identificacion", "spanish",
    ),
    _checksummed("es_nie", r"\b[XYZ][ \-]?\d{7}[ \-]?[A-Z]\b", nie, "nie", "extranjero", "dni", "nif", "identidad", "residencia"),
    Rule(
        id="national.it_codice_fiscale",
        category="pii",
        kind="it_codice_fiscale",
        pattern=r"(?i)\b[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-EHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]\b",
        check=stdnum_check(codicefiscale),
        score=0.95,
    ),
    _checksummed("nl_bsn", r"\b\d{9}\b|\b\d{4}[. ]\d{2}[. ]\d{3}\b", bsn, "bsn", "burgerservicenummer", "sofinummer", "sofi", "burger service nummer"),
    _checksummed("pl_pesel", r"\b\d{11}\b", pesel, "pesel", "numer ewidencyjny"),
    _checksummed("br_cpf", r"\b\d{3}\.?\d{3}\.?\d{3}-?\d{2}\b", cpf, "cpf", "cadastro de pessoa", "contribuinte"),
    _checksummed("in_aadhaar", r"\b[2-9]\d{3}[ \-]?\d{4}[ \-]?\d{4}\b", aadhaar, "aadhaar", "aadhar", "adhaar", "uidai", "आधार", "uid"),
    _checksummed("in_pan", r"\b[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]\b", pan, "pan", "permanent account", "income tax", "पैन"),
    _checksummed("ca_sin", r"\b\d{3}[ \-]?\d{3}[ \-]?\d{3}\b", sin, "sin", "social insurance", "nas", "assurance sociale"),
    _checksummed("au_tfn", r"\b\d{3}[ \-]?\d{3}[ \-]?\d{2,3}\b", tfn, "tfn", "tax file"),
    _checksummed("be_nn", r"\b\d{2}[. ]?\d{2}[. ]?\d{2}[- ]?\d{3}[. ]?\d{2}\b", nn, "rijksregister", "registre national", "national number", "niss", "insz"),
    _checksummed("se_personnummer", r"\b(?:\d{2})?\d{6}[\-+]?\d{4}\b", personnummer, "personnummer", "person nr", "pnr", "samordningsnummer"),
    _checksummed("no_fodselsnummer", r"\b\d{6} ?\d{5}\b", fodselsnummer, "fødselsnummer", "fodselsnummer", "personnummer", "fnr", "d-nummer"),
    _checksummed("dk_cpr", r"\b\d{6}-?\d{4}\b", cpr, "cpr", "cpr-nummer", "personnummer"),
    Rule(
        id="national.fi_hetu",
        category="pii",
        kind="fi_hetu",
        pattern=r"\b[0-3]\d[01]\d{3}[-+ABCDEFUVWXY]\d{3}[0-9A-Y]\b",
        check=stdnum_check(hetu),
        score=0.9,
    ),
    _checksummed("ch_ahv", r"\b756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}\b", ahv, "ahv", "avs", "svn", "sozialversicherung", "insurance", "versichertennummer"),
    _checksummed("tr_kimlik", r"\b[1-9]\d{10}\b", tckimlik, "tc kimlik", "kimlik", "t.c.", "tckn", "tc no"),
    Rule(
        id="national.cn_id",
        category="pii",
        kind="cn_id",
        pattern=r"(?i)[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]",
        check=_chinese,
        score=0.95,
        specific=3,
    ),
    _checksummed("kr_rrn", r"\b\d{6}-?[0-9]\d{6}\b", rrn, "주민등록번호", "주민번호", "rrn", "resident registration"),
    Rule(
        id="national.mx_curp",
        category="pii",
        kind="mx_curp",
        pattern=r"\b[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d\b",
        check=stdnum_check(curp),
        score=0.95,
    ),
    _checksummed("cl_rut", r"\b\d{1,2}\.?\d{3}\.?\d{3}-[\dkK]\b", rut, "rut", "run", "rol único"),
    _checksummed("co_nit", r"\b\d{3}\.?\d{3}\.?\d{3}-?\d\b", nit, "nit", "cédula", "cedula"),
    _checksummed("pt_nif", r"\b\d{3} ?\d{3} ?\d{3}\b", nif, "nif", "contribuinte", "número fiscal"),
    _checksummed("cz_rc", r"\b\d{6}/?\d{3,4}\b", rc, "rodné číslo", "rodne cislo", "rč"),
    _checksummed("ro_cnp", r"\b[1-9]\d{12}\b", cnp, "cnp", "cod numeric personal"),
    _checksummed("bg_egn", r"\b\d{10}\b", egn, "egn", "егн"),
    _checksummed("hr_oib", r"\b\d{11}\b", oib, "oib", "osobni identifikacijski"),
    _checksummed("lt_asmens_kodas", r"\b[1-9]\d{10}\b", asmens, "asmens kodas", "asmens"),
    _checksummed("ee_isikukood", r"\b[1-9]\d{10}\b", ik, "isikukood"),
    _checksummed("gr_amka", r"\b\d{11}\b", amka, "amka", "αμκα"),
    _checksummed("ie_pps", r"(?i)\b\d{7}[A-W][A-I]?\b", pps, "pps", "ppsn", "personal public service"),
    _checksummed("za_id", r"\b\d{13}\b", za_id, "id number", "south african", "identity number", "sa id", "rsa id"),
    _checksummed("th_pin", r"\b\d-?\d{4}-?\d{5}-?\d{2}-?\d\b", pin, "บัตรประชาชน", "thai id", "national id"),
    _checksummed("my_nric", r"\b\d{6}-?\d{2}-?\d{4}\b", nric, "nric", "mykad", "kad pengenalan"),
    _checksummed("id_nik", r"\b\d{16}\b", nik, "nik", "ktp", "kependudukan"),
    _numbered("sg_nric", r"\b[STFGM]\d{7}[A-Z]\b", _singapore, "nric", "fin", "singapore", "identity card", "ic no"),
)  # fmt: skip
