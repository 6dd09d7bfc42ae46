"""Money: an integer of minor units beside an ISO 4217 currency. No float, no mixed sums."""

from dataclasses import dataclass

from domain.errors import AmountOutOfRange, InvalidRequest

MAX_MINOR_UNITS = 10**12
"""Largest single amount. A balance, and any sum of them, fit a 64-bit integer."""

MAX_BALANCE = 10**15
"""What a wallet may hold once everything has arrived that is on its way into it. What would bring
it above is refused before any money moves, so what has moved always fits. The database refuses only
twice as much: points come by themselves, with completed orders."""

_TWO_DECIMALS = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY
COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR
MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG
SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES
WST XCD XCG YER ZAR ZMW ZWG
"""
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"

DECIMALS: dict[str, int] = {
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
}
"""Decimals of each currency that can be charged (ISO 4217, exponent column)."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount that can be owed, paid or refunded: 1 … `MAX_MINOR_UNITS` minor units."""

    minor_units: int
    currency: str

    def __post_init__(self) -> None:
        check_currency(self.currency)
        check_amount(self.minor_units)

    def __str__(self) -> str:
        return format_amount(self.minor_units, self.currency)


def check_currency(currency: str) -> None:
    """Raise `InvalidRequest` unless this is a currency that can be charged."""
    if currency not in DECIMALS:
        raise InvalidRequest(f"{currency!r} is not an ISO 4217 currency that can be charged.")


def check_amount(minor_units: int) -> None:
    """Raise `AmountOutOfRange` unless 1 ≤ amount ≤ `MAX_MINOR_UNITS`."""
    if not 1 <= minor_units <= MAX_MINOR_UNITS:
        raise AmountOutOfRange(
            f"An amount must be from 1 to {MAX_MINOR_UNITS:,} minor units, not {minor_units}."
        )


def format_amount(minor_units: int, currency: str) -> str:
    """`12,340 KRW`, `-12.34 USD`: exact, for summaries and terminals; never parsed again."""
    decimals = DECIMALS.get(currency, 0)
    sign = "-" if minor_units < 0 else ""
    whole, fraction = divmod(abs(minor_units), 10**decimals)
    digits = f"{whole:,}" + (f".{fraction:0{decimals}}" if decimals else "")
    return f"{sign}{digits} {currency}"
