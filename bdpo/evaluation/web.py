"""Requests over HTTP: by whom."""

from bdpo import __version__

USER_AGENT = f"bdpo/{__version__}"
"""Services behind Cloudflare, as Groq, refuse `urllib` by its own name (HTTP 403, error code 1010)."""
