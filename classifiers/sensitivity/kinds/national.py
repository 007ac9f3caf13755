"""National identity, social security and tax numbers of persons."""

from __future__ import annotations

from stdnum.ar import cuit
from stdnum.at import vnr
from stdnum.au import tfn
from stdnum.be import nn
from stdnum.bg import egn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.co import nit
from stdnum.cu import ni
from stdnum.cz import rc
from stdnum.de import idnr
from stdnum.dk import cpr
from stdnum.do import cedula
from stdnum.ec import ci
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.id import nik
from stdnum.ie import pps
from stdnum.il import idnr as teudat_zehut
from stdnum.in_ import aadhaar, pan
from stdnum.is_ import kennitala
from stdnum.iso7064 import mod_11_2
from stdnum.it import codicefiscale
from stdnum.jp import in_ as my_number
from stdnum.lt import asmens
from stdnum.lv import pvn
from stdnum.mx import curp
from stdnum.my import nric
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.nz import ird
from stdnum.pe import cui
from stdnum.pk import cnic
from stdnum.pl import pesel
from stdnum.pt import cc, nif
from stdnum.ro import cnp
from stdnum.ru import inn
from stdnum.se import personnummer
from stdnum.si import emso
from stdnum.th import pin
from stdnum.tr import tckimlik
from stdnum.ua import rntrc
from stdnum.us import itin
from stdnum.za import idnr as za_id

from classifiers.sensitivity.kinds.rule import SOME_DIGITS, Rule
from classifiers.sensitivity.validators import Check, NumberModule, digits_of, luhn, ssn, stdnum_check


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


def _snils(value: str) -> bool:
    """Whether the check number of a Russian SNILS is right."""
    digits = digits_of(value)
    total = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(9, 0, -1), strict=True)) % 101
    return total % 100 == int(digits[9:])


def _hong_kong(value: str) -> bool:
    """Whether the check character of a Hong Kong identity card is right; a letter counts from A = 10, no letter as 36."""
    bare = "".join(filter(str.isalnum, value)).upper()
    letters, check = bare[:-7].rjust(2), bare[-1]
    numbers = [36 if letter == " " else ord(letter) - 55 for letter in letters] + [int(digit) for digit in bare[-7:-1]]
    numbers.append(10 if check == "A" else int(check) if check.isdigit() else -1)
    return sum(number * weight for number, weight in zip(numbers, range(9, 0, -1), strict=True)) % 11 == 0


def _taiwan(value: str) -> bool:
    """Whether the check digit of a Taiwan identity card is right; its letter stands for a number from 10 to 35."""
    first = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(value[0].upper()) + 10
    digits = [first // 10, first % 10, *map(int, value[1:])]
    return sum(digit * weight for digit, weight in zip(digits, (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1), strict=True)) % 10 == 0


def _by_luhn(value: str) -> bool:
    return luhn(digits_of(value))


def _korean(value: str) -> bool:
    """Whether the first six digits are a date: since 2020 the last ones are drawn at random."""
    return "01" <= value[2:4] <= "12" and "01" <= value[4:6] <= "31"


def _australian_medicare(value: str) -> bool:
    """Whether the check digit (the ninth) of an Australian Medicare card is right."""
    digits = digits_of(value)
    return sum(int(digit) * weight for digit, weight in zip(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9), strict=True)) % 10 == int(
        digits[8]
    )


def _german_pension(value: str) -> bool:
    """Whether the check digit of a German pension insurance number is right; its letter counts as two digits, A = 01."""
    bare = value.replace(" ", "").upper()
    digits = bare[:8] + f"{ord(bare[8]) - 64:02d}" + bare[9:11]
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    return sum(sum(divmod(int(digit) * weight, 10)) for digit, weight in zip(digits, weights, strict=True)) % 10 == int(bare[11])


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
    _numbered("kr_rrn", r"\b\d{6}-?[0-9]\d{6}\b", _korean, "주민등록번호", "주민번호", "주민등록", "외국인등록번호", "rrn", "resident registration"),
    _checksummed("jp_my_number", r"\b\d{4}[ \-]?\d{4}[ \-]?\d{4}\b", my_number, "マイナンバー", "個人番号", "my number", "individual number"),
    _numbered("tw_id", r"(?i)\b[A-Z][1289]\d{8}\b", _taiwan, "身分證", "身份證", "身分證字號", "taiwan", "national id", "arc"),
    _numbered("hk_id", r"(?i)\b[A-Z]{1,2}\d{6} ?\(?[0-9A]\)?", _hong_kong, "hkid", "hong kong", "identity card", "id card", "身份證"),
    _checksummed("ru_inn", r"\b\d{12}\b", inn, "инн", "inn"),
    _numbered("ru_snils", r"\b\d{3}[ \-]?\d{3}[ \-]?\d{3}[ \-]?\d{2}\b", _snils, "снилс", "snils"),
    _checksummed("ua_rntrc", r"\b\d{10}\b", rntrc, "рнокпп", "іпн", "ідентифікаційний", "rnokpp"),
    _checksummed("il_id", r"\b\d{7,8}-?\d\b", teudat_zehut, "תעודת זהות", "ת.ז", "teudat zehut", "israeli id", "id number"),
    _numbered("ae_emirates_id", r"\b784-?\d{4}-?\d{7}-?\d\b", _by_luhn, "emirates id", "emirates", "eid", "الهوية", score=0.95),
    _numbered("sa_national_id", r"\b[12]\d{9}\b", _by_luhn, "iqama", "saudi id", "national id", "الهوية", "الإقامة"),
    _checksummed("pk_cnic", r"\b\d{5}-?\d{7}-?\d\b", cnic, "cnic", "nadra", "شناختی"),
    _checksummed("ar_cuit", r"\b\d{2}[ \-]?\d{8}[ \-]?\d\b", cuit, "cuit", "cuil"),
    _checksummed("ec_cedula", r"\b\d{9}-?\d\b", ci, "cédula", "cedula", "identidad"),
    _checksummed("do_cedula", r"\b\d{3}-?\d{7}-?\d\b", cedula, "cédula", "cedula"),
    _checksummed("pe_dni", r"\b\d{8}-?[0-9A-K]\b", cui, "dni", "cui", "documento"),
    _checksummed("cu_ni", r"\b\d{11}\b", ni, "carné de identidad", "carne de identidad", "número de identidad"),
    _checksummed("at_svnr", r"\b\d{4} ?\d{6}\b", vnr, "svnr", "sv-nummer", "sozialversicherungsnummer", "versicherungsnummer"),
    _numbered(
        "de_pension_insurance", r"\b\d{2} ?\d{6} ?[A-Z] ?\d{2} ?\d\b", _german_pension,
        "rentenversicherung", "rentenversicherungsnummer", "sozialversicherungsnummer", "versicherungsnummer", "rvnr", "svnr",
    ),
    _checksummed("is_kennitala", r"\b\d{6}-?\d{4}\b", kennitala, "kennitala"),
    _checksummed("lv_personas_kods", r"\b\d{6}-?\d{5}\b", pvn, "personas kods", "personas koda"),
    _checksummed("si_emso", r"\b\d{13}\b", emso, "emšo", "emso", "jmbg", "matični broj"),
    _checksummed("pt_cc", r"(?i)\b\d{8} ?\d ?[A-Z0-9]{2}\d\b", cc, "cartão de cidadão", "cartao de cidadao", "citizen card"),
    _checksummed("nz_ird", r"\b\d{2,3}[ \-]?\d{3}[ \-]?\d{3}\b", ird, "ird"),
    _numbered("au_medicare", r"\b[2-6]\d{3} ?\d{5} ?\d(?:[ /\-]?[1-9])?\b", _australian_medicare, "medicare"),
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
