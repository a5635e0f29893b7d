"""Money in and out: attempts to pay, what providers say of them, and refunds.

Owns the tables payments and payment_events. Always true: a payment goes forward only, by conditional updates; an event of a
provider takes effect once; no provider is called while a transaction is open. Bookings are known by their ids alone:
`booking/paying.py` decides what money means for places. Announces payment.succeeded, payment.declined,
payment.mismatched and payment.disputed.
"""

from holdfast.payments.provider import (
    Attempt,
    BadSignature,
    Listed,
    Notice,
    Opened,
    Provider,
    ProviderDown,
    ProviderRefused,
    RefundState,
    Seen,
    SeenRefund,
    State,
    Wish,
)

__all__ = [
    "Attempt",
    "BadSignature",
    "Listed",
    "Notice",
    "Opened",
    "Provider",
    "ProviderDown",
    "ProviderRefused",
    "RefundState",
    "Seen",
    "SeenRefund",
    "State",
    "Wish",
]
