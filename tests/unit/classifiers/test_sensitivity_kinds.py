"""Each kind of structured data is found where it is, and what only looks like it, or is a documented example, is not.

Values are put together from pieces, so that no line of this file looks like a secret that is in use.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

import msgspec
import pytest

from classifiers.sensitivity.engine import Scan
from classifiers.sensitivity.kinds import national, vendors
from classifiers.sensitivity.kinds.shipped import KINDS
from routing_rules.vocabulary import CATEGORIES, ScanState

Scanning = Callable[..., Scan]

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
HEXADECIMAL = "0123456789abcdef"


def drawn(length: int, alphabet: str = LETTERS_AND_DIGITS) -> str:
    """Characters that look drawn at random, the same ones every time."""
    return "".join(random.Random(length).choices(alphabet, k=length))


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def key_block(name: str) -> str:
    body = "\n".join(drawn(64, LETTERS_AND_DIGITS + "+/") for _ in range(3))
    return f"-----BEGIN {name}-----\n{body}\n-----END {name}-----"


UUID = "-".join(drawn(length, HEXADECIMAL) for length in (8, 4, 4, 4, 12))
JWT = ".".join([encoded('{"alg":"HS256","typ":"JWT"}'), encoded('{"sub":"4711","admin":true}'), drawn(43)])

PERSONS = [
    ("email_address", "maria.keller@" + "kundenwerk.de", "Please write to {} today"),
    ("email_address", "obrien+orders" + "@" + "mail.shop-of-things.co.uk", "cc {}"),
    ("email_address", "jürgen@" + "müller-bau.de", "Schreib an {}, bitte"),
    ("email_address", "john.doe AT " + "gmail DOT com", "email me: {}"),
    ("phone_number", "+49 30 " + "23125 4678", "Reach her at {}."),
    ("phone_number", "+1 (212) " + "736-5934", "Dial {} now"),
    ("phone_number", "(212) " + "736-5934", "The desk has {}"),
    ("phone_number", "0171 " + "2345987", "Handy: {}"),
    ("phone_number", "+1-903-" + "672-4508x769", "Desk: {}"),
    ("phone_number", "671 " + "1704", "{} office"),
    ("phone_number", "21 284 " + "698 2548", "Phone: {}"),
    ("us_ssn", "536-22-" + "8412", "The form says {}"),
    ("us_ssn", "536 22 " + "8412", "social security number {}"),
    ("us_itin", "912-90-" + "3456", "Her ITIN is {}"),
    ("uk_nino", "AB 12 34 " + "56 C", "We hold {} for him"),
    ("de_tax_id", "36 574 " + "261 809", "Steuer-ID: {}"),
    ("fr_nir", "2 95 10 99 " + "126 111 93", "Numéro de sécurité sociale {}"),
    ("es_dni", "54362315" + "K", "DNI {}"),
    ("es_nie", "X-2482300" + "W", "NIE: {}"),
    ("it_codice_fiscale", "RCCMNL83" + "S18D969H", "Codice {}"),
    ("nl_bsn", "1112.22." + "333", "BSN {}"),
    ("pl_pesel", "440514" + "01359", "PESEL: {}"),
    ("br_cpf", "390.533.447" + "-05", "CPF {}"),
    ("in_aadhaar", "2341 2341 " + "2346", "Aadhaar {}"),
    ("in_pan", "ACUPA" + "7085R", "PAN: {}"),
    ("ca_sin", "123-456-" + "782", "SIN {}"),
    ("se_personnummer", "880320-" + "0016", "personnummer {}"),
    ("no_fodselsnummer", "151086" + " 95088", "fødselsnummer {}"),
    ("dk_cpr", "211062" + "-5629", "CPR {}"),
    ("fi_hetu", "131052-" + "308T", "Henkilötunnus {}"),
    ("be_nn", "85.07.30-" + "033.28", "rijksregister {}"),
    ("ch_ahv", "756.9217." + "0769.85", "AHV-Nummer {}"),
    ("cn_id", "110105" + "19491231002X", "身份证 {}"),
    ("kr_rrn", "971013-" + "9019902", "주민등록번호 {}"),
    ("mx_curp", "BOXW310820" + "HNERXN09", "CURP {}"),
    ("sg_nric", "S1234567" + "D", "NRIC {}"),
    ("jp_my_number", "6214 9832 " + "0257", "マイナンバーは {} です"),
    ("kr_rrn", "850101-" + "1234567", "주민등록번호 {}"),
    ("tw_id", "A12345" + "6789", "身分證字號 {}"),
    ("hk_id", "G12345" + "6(A)", "HKID {}"),
    ("ru_inn", "1234567" + "89047", "ИНН {}"),
    ("ru_snils", "112-233-" + "445 95", "СНИЛС {}"),
    ("ua_rntrc", "17590" + "13776", "РНОКПП {}"),
    ("il_id", "3933742" + "-3", "תעודת זהות {}"),
    ("ae_emirates_id", "784-1980-" + "1234567-8", "Emirates ID {}"),
    ("pk_cnic", "34201-" + "0891231-8", "CNIC {}"),
    ("ar_cuit", "20-0553" + "6168-2", "CUIT {}"),
    ("ec_cedula", "1714307" + "10-3", "cédula {}"),
    ("do_cedula", "001139" + "18205", "cédula {}"),
    ("pe_dni", "101174" + "10-2", "DNI {}"),
    ("cu_ni", "9102102" + "7775", "carné de identidad {}"),
    ("at_svnr", "1237 " + "010180", "SV-Nummer {}"),
    ("de_pension_insurance", "65 170839" + " J 003", "Rentenversicherungsnummer {}"),
    ("si_emso", "010100" + "6500006", "EMŠO {}"),
    ("nz_ird", "49-098" + "-576", "IRD {}"),
    ("au_medicare", "2123 456" + "70 1", "Medicare {}"),
    ("passport", "45 10 " + "123456", "паспорт {}"),
    ("phone_number", "001-415-672-" + "2671x123", "call {}"),
    ("za_id", "750330" + "5044089", "South African ID number {}"),
]

HOSTS = [
    ("internal_host", "169.254" + ".169.254", "curl http://{}/latest/meta-data/"),
    ("internal_host", "arn:aws:iam::" + "492017653318:role/deploy", "assume {} now"),
    ("internal_host", "/subscriptions/" + UUID, "id is {}/resourceGroups"),
    ("internal_host", "10.20" + ".30.40", "ssh to {} please"),
    ("internal_host", "db7.prod.kundenwerk" + ".internal", "host {} is down"),
]

MONEY = [
    ("payment_card", "4539 1488 " + "0343 6467", "Charge {} please"),
    ("payment_card", "4539-1488-" + "0343-6467", "Charge {} please"),
    ("payment_card", "45391488" + "03436467", "number={};"),
    ("payment_card", "5500 0055 " + "5555 5559", "Mastercard {}"),
    ("payment_card", "3714 496353 " + "98431", "Amex {}"),
    ("payment_card", "6011 0009 " + "9013 9424", "it was {}"),
    ("iban", "DE12 5001 0517 " + "0648 4898 90", "Please pay to {}."),
    ("iban", "FR76 3000 6000 0112 " + "3456 7890 189", "IBAN {}"),
    ("iban", "nl91abna" + "0417164300", "my account is {} there"),
]

SECRETS = [
    ("private_key", key_block("RSA PRIVATE " + "KEY"), "Use this:\n{}\nThanks"),
    ("private_key", key_block("OPENSSH PRIVATE " + "KEY"), "{}"),
    ("private_key", key_block("EC PRIVATE " + "KEY"), "key: {}"),
    ("private_key", key_block("ENCRYPTED PRIVATE " + "KEY"), "{}"),
    ("connection_string", drawn(12), "postgres://app:{}@db:5432/orders"),
    ("connection_string", drawn(14), "mongodb+srv://root:{}@cluster0.abcde.mongodb.net/"),
    ("connection_string", drawn(13), "redis://:{}@cache:6379/0"),
    ("connection_string", drawn(12), "Server=tcp:sql1;Database=orders;User Id=sa;Password={};Encrypt=true"),
    ("password", "Tr0ub4dor" + "&3x", 'password = "{}"'),
    ("password", "hunter2" + "!Kx", "the password for the wifi is {} ok"),
    ("jwt", JWT, "Cookie: session={}"),
    ("basic_auth", base64.b64encode(b"admin:" + b"pa55word9").decode(), "Authorization: Basic {}"),
    ("bearer_token", drawn(40), "Authorization: Bearer {}"),
    ("password_hash", "$2b$12$" + drawn(53), "shadow has {}"),
    ("openai_key", "sk-" + "proj-" + drawn(58) + "T3Blbk" + "FJ" + drawn(58), "key {}"),
    ("openai_key", "s" + "k-" + drawn(48), "key {}"),
    ("anthropic_key", "sk-" + "ant-api03-" + drawn(93) + "AA", "key {}"),
    ("huggingface_token", "hf" + "_" + drawn(34, string.ascii_letters), "login {}"),
    ("groq_key", "gsk" + "_" + drawn(52), "export K={}"),
    ("aws_access_key", "AK" + "IA" + drawn(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "id {}"),
    ("aws_secret_key", drawn(40), "aws_secret_access_key = {}"),
    ("google_api_key", "AI" + "za" + drawn(35), "maps {}"),
    ("google_oauth_secret", "GOC" + "SPX-" + drawn(28), "client {}"),
    ("digitalocean_token", "dop" + "_v1_" + drawn(64, HEXADECIMAL), "do {}"),
    ("github_token", "gh" + "p_" + drawn(36), "remote {}"),
    ("github_token", "github" + "_pat_" + drawn(22) + "_" + drawn(59), "remote {}"),
    ("gitlab_token", "gl" + "pat-" + drawn(20), "ci {}"),
    ("npm_token", "np" + "m_" + drawn(36), "//registry/:_authToken={}"),
    ("pypi_token", "py" + "pi-AgEIcHlwaS5vcmc" + drawn(60), "twine -p {}"),
    ("slack_token", "xo" + "xb-" + drawn(12, string.digits) + "-" + drawn(24), "bot {}"),
    ("sendgrid_key", "S" + "G." + drawn(22) + "." + drawn(43), "mail {}"),
    ("mailchimp_key", drawn(32, HEXADECIMAL) + "-us" + "12", "list {}"),
    ("twilio_key", "S" + "K" + drawn(32, HEXADECIMAL), "sms {}"),
    ("stripe_key", "sk" + "_live_" + drawn(24), "pay {}"),
    ("shopify_token", "shp" + "at_" + drawn(32, HEXADECIMAL), "shop {}"),
    ("databricks_token", "da" + "pi" + drawn(32, HEXADECIMAL), "host {}"),
    ("vault_token", "hv" + "s." + drawn(24), "vault {}"),
    ("telegram_token", drawn(10, "123456789") + ":A" + "A" + drawn(33), "bot {} there"),
]  # fmt: skip

UPPER_CASE = string.ascii_uppercase + string.digits
LOWER_CASE = string.ascii_lowercase + string.digits

SERVICES = [
    ("tailscale_key", "tskey" + "-auth-" + drawn(11) + "CNTRL-" + drawn(32)),
    ("youtrack_token", "perm" + ":cm9vdA==.dG9rZW4=." + drawn(30)),
    ("paddle_key", "pdl" + "_live_apikey_" + drawn(26, LOWER_CASE) + "_" + drawn(22) + "_" + drawn(3)),
    ("polar_token", "polar" + "_oat_" + drawn(43)),
    ("woocommerce_key", "c" + "s_" + drawn(40, HEXADECIMAL)),
    ("mailersend_token", "ml" + "sn." + drawn(64, HEXADECIMAL)),
    ("resend_key", "r" + "e_" + drawn(8) + "_" + drawn(24)),
    ("brevo_smtp_key", "xsmtp" + "sib-" + drawn(64, HEXADECIMAL) + "-" + drawn(16)),
    ("telnyx_key", "KEY" + drawn(32, "0123456789ABCDEF") + "_" + drawn(22)),
    ("intercom_token", "dG9" + "rO" + drawn(60)),
    ("zoho_token", "1000" + "." + drawn(32, HEXADECIMAL) + "." + drawn(32, HEXADECIMAL)),
    ("voiceflow_key", "VF" + ".DM." + drawn(24, HEXADECIMAL) + "." + drawn(16)),
    ("clickup_token", "pk" + "_4753994_" + drawn(32, UPPER_CASE)),
    ("posthog_key", "ph" + "x_" + drawn(43)),
    ("honeycomb_key", "hca" + "ik_" + drawn(58, LOWER_CASE)),
    ("dbt_token", "dbt" + "c_" + drawn(40)),
    ("harness_token", "pat" + "." + drawn(22) + "." + drawn(24, HEXADECIMAL) + "." + drawn(20)),
    ("bitwarden_token", "0." + UUID + "." + drawn(30) + ":" + drawn(22) + "=="),
    ("netbird_token", "nb" + "p_" + drawn(36)),
    ("elevenlabs_key", "s" + "k_" + drawn(48, HEXADECIMAL)),
    ("jina_key", "ji" + "na_" + drawn(60)),
    ("e2b_key", "e2" + "b_" + drawn(40, HEXADECIMAL)),
    ("firecrawl_key", "f" + "c-" + drawn(32, HEXADECIMAL)),
    ("langfuse_key", "sk" + "-lf-" + UUID),
    ("cerebras_key", "cs" + "k-" + drawn(48, LOWER_CASE)),
    ("together_key", "tgp" + "_v1_" + drawn(43)),
    ("runpod_key", "rp" + "a_" + drawn(40, UPPER_CASE)),
    ("render_key", "rn" + "d_" + drawn(28)),
    ("neon_key", "na" + "pi_" + drawn(64, LOWER_CASE)),
    ("cockroach_key", "CCDB" + "1_" + drawn(22) + "_" + drawn(40)),
    ("mongodb_atlas_secret", "mdb" + "_sa_sk_" + drawn(40)),
    ("confluent_secret", "cf" + "lt" + drawn(60)),
    ("vercel_token", "vc" + "p_" + drawn(56)),
    ("deno_token", "dd" + "p_" + drawn(36)),
    ("scaleway_key", "SC" + "W" + drawn(17, UPPER_CASE)),
    ("digitalocean_spaces_key", "DO" + "00" + drawn(16, UPPER_CASE)),
    ("azure_identifiable_key", drawn(76) + "+A" + "St" + drawn(5) + "A=="),
    ("azure_identifiable_key", drawn(52) + "JQ" + "QJ99" + drawn(26)),
    ("azure_identifiable_key", drawn(76) + "AZ" + "DO" + drawn(4)),
    ("amazon_login_secret", "amzn1" + ".oa2-cs.v1." + drawn(64, HEXADECIMAL)),
    ("amazon_login_token", "Atz" + "r|" + drawn(120)),
    ("canva_secret", "cnv" + "ca" + drawn(50)),
    ("pinterest_token", "pin" + "a_" + drawn(60, UPPER_CASE)),
    ("zapier_webhook", "hooks.zapier" + ".com/hooks/catch/1234567/" + drawn(7, LOWER_CASE)),
    ("make_webhook", "hook.eu2" + ".make.com/" + drawn(32, LOWER_CASE)),
]  # fmt: skip

ALL = PERSONS + HOSTS + MONEY + SECRETS + [(kind, value, "it is {} now") for kind, value in SERVICES]


def test_many_issuers_credentials_and_identity_numbers_of_many_countries_are_known() -> None:
    assert len({rule.kind for rule in vendors.RULES}) >= 150
    assert len({rule.kind[:2] for rule in national.RULES}) >= 40


@pytest.mark.parametrize(("kind", "value", "sentence"), ALL, ids=[f"{kind}-{number}" for number, (kind, _, _) in enumerate(ALL)])
def test_a_value_is_found_at_its_place_and_shown_only_by_its_end(scan: Scanning, kind: str, value: str, sentence: str) -> None:
    text = sentence.format(value)
    result = scan(text)
    assert result.state is ScanState.COMPLETE
    assert [(finding.kind, text[finding.start : finding.end]) for finding in result.findings] == [(kind, value)]
    (finding,) = result.findings
    assert finding.category == KINDS[kind]
    assert finding.category in CATEGORIES
    assert 0.0 < finding.score <= 1.0
    shown = finding.masked.lstrip("*")
    assert len(shown) <= 4
    assert len(finding.masked) <= 8


@pytest.mark.parametrize(("kind", "value", "sentence"), ALL, ids=[f"{kind}-{number}" for number, (kind, _, _) in enumerate(ALL)])
def test_no_form_of_a_scan_holds_the_value(scan: Scanning, kind: str, value: str, sentence: str) -> None:
    result = scan(sentence.format(value))
    bare = "".join(character for character in value if character.isalnum())
    for written in (repr(result), str(result), msgspec.json.encode(result).decode()):
        assert value not in written
        assert bare not in written
        assert bare[-12:-4] not in written  # all but the end that is shown


@pytest.mark.parametrize(
    "text",
    [
        "AK" + "IAIOSFODNN7" + "EXAMPLE",
        "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
        "card 4111 1111 1111 1111",
        "card 4111-1111-1111-1111 or 4111111111111111",
        "SSN 078-05-1120",
        "GB82 WEST 1234 5698 7654 32",
        "DE89 3704 0044 0532 0130 00",
        "mail user@example.com or somebody@example.org",
        "root@localhost and me@machine.test",
        "call 555-0100 or (212) 555-0143",
        "https://user:password@host.example/",
        "postgres://app:<password>@db/orders",
        "export OPENAI_API_KEY=" + "sk-" + "x" * 40,
        "api_key = YOUR_API_KEY_GOES_HERE",
        "token: ${GITHUB_TOKEN}",
        "-----BEGIN PRIVATE " + "KEY-----\n...\n-----END PRIVATE " + "KEY-----",
    ],
)  # fmt: skip
def test_a_documented_example_or_a_placeholder_is_no_finding(scan: Scanning, text: str) -> None:
    assert scan(text).findings == ()


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("Charge 4539 1488 " + "0343 6468 please", "payment_card"),  # Luhn fails
        ("Order 7992 7398 " + "7130 0001 shipped", "payment_card"),
        ("part 0000 0000 0000 0000", "payment_card"),
        ("timestamps 1732357200000 and 1732357200123", "payment_card"),
        ("pay DE12 5001 0517 " + "0648 4898 91", "iban"),  # mod 97 fails
        ("pay XX12 5001 0517 " + "0648 4898 90", "iban"),
        ("version 666-12-" + "3456", "us_ssn"),
        ("range 000-12-" + "3456", "us_ssn"),
        ("range 536-00-" + "8412", "us_ssn"),
        ("PESEL: 440514" + "01358", "pl_pesel"),
        ("CPF 390.533.447" + "-06", "br_cpf"),
        ("Aadhaar 2341 2341 " + "2347", "in_aadhaar"),
        ("DNI 54362315" + "X", "es_dni"),
        ("the build 44051401359 passed", "pl_pesel"),  # no word near that says what it is
        ("BG 12 34 56 " + "C", "uk_nino"),
        ("icon@2x.png", "email_address"),
        ("git clone git@github.com:a/b.git", "email_address"),
        ("2024-01-15 10:30:00 to 2024-01-16", "phone_number"),
        ("1.2.3.4 and +1 2", "phone_number"),
        (".".join([encoded('{"not":"a token"}'), encoded('{"a":"something"}'), drawn(43)]), "jwt"),  # a header that names no algorithm
        ("-----BEGIN PUBLIC " + "KEY-----\n" + drawn(64) + "\n-----END PUBLIC " + "KEY-----", "private_key"),
        ("ghp_short", "github_token"),
        ("sk-learn and sk-based-tokenizers", "openai_key"),
        ("password = os.environ['DB_PASSWORD']", "password"),
        ("the password field is required", "password"),
        ("password: string", "password"),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_value_is_not_taken_for_it(scan: Scanning, text: str, never: str) -> None:
    assert never not in {finding.kind for finding in scan(text).findings}


def test_ordinary_text_has_no_findings(scan: Scanning) -> None:
    result = scan(
        "Summarise the meeting: revenue rose by 12.5 % to 3,400,000 in 2026, see pages 12-14, ISBN 978-3-16-148410-0.",
        "def add(a: int, b: int) -> int:\n    return a + b  # 1234567890",
        "Commit 9152c4f3aa01b7d2c4e5f60718293a4b5c6d7e8f fixes issue 1234.",
    )
    assert (result.findings, result.state) == ((), ScanState.COMPLETE)


def test_places_count_characters_of_each_part_also_after_wide_characters(scan: Scanning) -> None:
    address = "maria.keller@" + "kundenwerk.de"
    texts = [f"Grüße 🎉🎉 an {address}", f"日本語 {address} и {address}"]
    result = scan(*texts)
    assert [finding.part for finding in result.findings] == [0, 1, 1]
    assert {texts[finding.part][finding.start : finding.end] for finding in result.findings} == {address}


def test_spellings_of_one_value_share_a_digest_and_other_values_do_not(scan: Scanning) -> None:
    one, same, other = (
        scan(text).findings[0].digest
        for text in ("4539 1488 " + "0343 6467", "45391488" + "03436467", "5500 0055 " + "5555 5559")
    )
    assert one == same != other
