"""Secrets kept out of what is printed or written down."""

from __future__ import annotations

import re


def hide_secrets(text: str) -> str:
    """`text` without user and password of any URL in it, whatever these hold, and without a
    password in its query.
    """
    without_user = re.sub(r"//\S*@", "//***@", text)
    return re.sub(r"(?i)\b(pass\w*=)[^&\s'\"]+", r"\1***", without_user)
