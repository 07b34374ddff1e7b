"""Which pages in a browser a server lets use it."""

import httpx


def may_be_used_by(origin: str, api_url: str) -> str | None:
    """The origin that a server's answer to a browser's question lets through; None where the browser would refuse."""
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{api_url}/flow_runs/filter", headers=asked)
    allowed: str | None = answer.headers.get("access-control-allow-origin")
    return allowed
