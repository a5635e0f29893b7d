"""Facts for those outside: sent to the endpoints of organizers, signed, and kept in a feed to catch up from.

Owns facts, feeds, webhooks, webhook_secrets and webhook_deliveries. Always true: a fact is kept once for its organizer and
makes at most one delivery for each endpoint, in one transaction; nobody is given another organizer's facts; whoever has
been shown a position of the feed has been shown everything before it. Follows every fact, announces none.
"""

from holdfast.webhooks.running import Sending
from holdfast.webhooks.signing import reseal_some

__all__ = ["Sending", "reseal_some"]
