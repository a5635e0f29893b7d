"""What people see in a browser: pages that are rendered here and speak to the public API alone.

Answers for: the API reference at /docs. Owns no tables and announces nothing. Always holds: no page asks a third party
for anything, and every page can be read without a script.
"""

from holdfast.web.reference import docs_page, docs_routes

__all__ = ["docs_page", "docs_routes"]
