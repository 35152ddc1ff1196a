"""What keeps a README and its links harmless: names and notes in it come from the data and from records."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
TAG = re.compile(r"(?<!\\)<(?!/?(?:details|summary)>)(?=[A-Za-z/!?])")
"""The start of HTML, apart from what folds a section."""
OTHER_SCHEME = re.compile(r"\](?=\(\s*(?!https?:)[A-Za-z][A-Za-z0-9+.-]*:)", re.IGNORECASE)


def web_address(text: object) -> str | None:
    """Return an address that a page may link to, http or https; None for anything else."""
    address = str(text or "").strip()
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def safe_markdown(text: str) -> str:
    """Escape HTML, and links to anything but files and the web, outside of code."""
    parts = CODE.split(text)
    parts[::2] = (OTHER_SCHEME.sub(r"\\]", TAG.sub("&lt;", part)) for part in parts[::2])
    return "".join(parts)
