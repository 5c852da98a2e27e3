"""Personal data and secrets in texts: where they are, and the text with them masked.

False alarms cost more trust than a miss: numbers count only with a valid checksum, a country code
or a word like “phone” before them, and addresses of the example domains (RFC 2606) not at all.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import phonenumbers

Span = tuple[int, int]


@dataclass(frozen=True)
class Kind:
    """`said` starts a sentence; `mask` stands in its place when it is masked."""

    code: str
    title: str
    said: str
    mask: str
    find: Callable[[str], Iterator[Span]]

    def masked(self, text: str) -> str:
        for begin, end in reversed(list(self.find(text))):
            text = text[:begin] + self.mask + text[end:]
        return text


_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}\b")
_NOBODY = re.compile(r"(?:^|[@.])example(?:\.\w+)?$|\.(?:example|invalid|test|localhost)$")
_NUMBER = re.compile(r"\d[\d ()/.-]{5,}\d")
_SAID_PHONE = re.compile(
    r"(?:\b(?:tel|phone|fon|telefon|téléphone|teléfono|telefone|mobil|mobile|handy|cell|fax"
    r"|whatsapp|call)\b|телефон|電話|电话|전화)\W{0,4}(?:\w+\W){0,3}?(\(?\d[\d ()/.-]{5,18}\d)",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<![\d-])(?:\d[ -]?){12,18}\d(?![\d-])")
_CARD_START = re.compile(r"4|5[1-5]|2[2-7]|3[47]|6(?:011|5)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_SECRET = re.compile(
    r"\bsk-[\w-]{20,}|\bgh[pousr]_\w{36,}|\bgithub_pat_\w{40,}|\bglpat-[\w-]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{35}|\bhf_[A-Za-z0-9]{30,}|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SECRET_STARTS = (
    "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "AKIA", "AIza", "hf_",
    "xox", "eyJ", "-----BEGIN",
)  # fmt: skip


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if not _NOBODY.search(found[0].casefold()):
                yield found.span()


def _phones(text: str) -> Iterator[Span]:
    if not _NUMBER.search(text):
        return
    spans = [found.span(1) for found in _SAID_PHONE.finditer(text)]
    if "+" in text:  # with a country code; the library knows which numbers can exist
        spans += [(m.start, m.end) for m in phonenumbers.PhoneNumberMatcher(text, None)]
    end = 0
    for span in sorted(spans):
        if span[0] >= end:
            yield span
            end = span[1]


def _cards(text: str) -> Iterator[Span]:
    for found in _CARD.finditer(text) if _NUMBER.search(text) else ():
        digits = [int(sign) for sign in found[0] if sign.isdigit()]
        if _CARD_START.match(found[0]) and len(set(digits)) > 1 and luhn(digits):
            yield found.span()


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN.finditer(text) if _NUMBER.search(text) else ():
        code = found[0].replace(" ", "")
        number = "".join(str(int(sign, 36)) for sign in code[4:] + code[:4])
        if int(number) % 97 == 1:  # ISO 13616
            yield found.span()


def _secrets(text: str) -> Iterator[Span]:
    if any(start in text for start in _SECRET_STARTS):  # much quicker than the expression
        for found in _SECRET.finditer(text):
            yield found.span()


def luhn(digits: list[int]) -> bool:
    """Whether the last digit is the right check digit (ISO/IEC 7812)."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


KINDS = (
    Kind("email", "e-mail addresses", "An e-mail address", "[e-mail]", _emails),
    Kind("phone", "phone numbers", "A phone number", "[phone]", _phones),
    Kind("card", "card numbers", "A number of a bank card", "[card]", _cards),
    Kind("iban", "bank accounts", "A bank account (IBAN)", "[account]", _ibans),
    Kind("secret", "keys and passwords", "A secret key", "[key]", _secrets),
)
