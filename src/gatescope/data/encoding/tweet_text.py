"""What a tweet has besides words: links and handles become one token each."""

from __future__ import annotations

import re

_LINK = re.compile(r"(?:https?:|www\.)\S*", re.IGNORECASE)
_HANDLE = re.compile(r"@\w+")


def mask(text: str) -> str:
    """Replace links and handles by one token each, so that a model cannot memorise them."""
    return _HANDLE.sub(" <user> ", _LINK.sub(" <url> ", text))
