"""What people see in a browser: pages that are rendered here and speak to the public API alone.

Answers for: the API reference at /docs, and the shop at /. Owns no tables and announces nothing. Always holds: no page asks
a third party for anything, and every page can be read without a script.
"""

from holdfast.web.api import Api
from holdfast.web.reference import docs_page, docs_routes
from holdfast.web.shop import shop_routes

__all__ = ["Api", "docs_page", "docs_routes", "shop_routes"]
