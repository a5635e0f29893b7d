"""Money: integer minor units and an ISO 4217 currency, never a float."""

import msgspec

# Active ISO 4217 codes that people are paid in; the number of digits after the point where it is not two.
MINOR_DIGITS_NOT_TWO = {
    "BHD": 3, "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0,
    "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0,
    "XPF": 0,
}  # fmt: skip
CURRENCIES = frozenset(MINOR_DIGITS_NOT_TWO) | frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP
    CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD
    KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
    NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG""".split()
)

# 10^12 minor units: beyond any ticket, and a sum of 10^6 of them still fits in PostgreSQL's bigint.
AMOUNT_MAX = 1_000_000_000_000


class Money(msgspec.Struct, frozen=True):
    """An amount in the currency's minor unit (cents; whole yen)."""

    amount: int
    currency: str


def plain(money: Money) -> str:
    """The amount as a person reads it, in no particular locale: `45.00 EUR`, `300 JPY`."""
    digits = MINOR_DIGITS_NOT_TWO.get(money.currency, 2)
    if digits == 0:
        return f"{money.amount} {money.currency}"
    sign, amount = ("-" if money.amount < 0 else ""), abs(money.amount)
    return f"{sign}{amount // 10**digits}.{amount % 10**digits:0{digits}} {money.currency}"
