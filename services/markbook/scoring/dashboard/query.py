"""The dashboard's query parameters, and links to its other views."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from urllib.parse import urlencode

from markbook.scoring.dashboard.time_range import Period

PAUSED = "off"


@dataclass(frozen=True, slots=True)
class PageQuery:
    """`search` filters the marks, `before` is the cursor of their list.

    `refresh`: `off` stops reloading.
    """

    since: Period = Period.AUTO
    run: str | None = None
    search: str = ""
    before: str | None = None
    refresh: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether the page reloads by itself: not while marks are searched, nor while that is
        paused.
        """
        return self.may_reload and self.refresh != PAUSED

    @property
    def may_reload(self) -> bool:
        return not (self.search or self.before)

    def link(self, at: str = "", **changes: str | None) -> str:
        """The URL of this view with `changes`; `at` is a fragment such as `#marks`."""
        values = asdict(replace(self, **changes))  # type: ignore[arg-type]
        values["since"] = values["since"] if values["since"] != Period.AUTO else None
        given = {_NAMES.get(name, name): value for name, value in values.items() if value}
        return f"?{urlencode(given)}{at}" if given else f".{at}"

    def download(self, **options: str) -> str:
        """The URL of a download of this view's marks: those of its run."""
        given = {**({"run": self.run} if self.run else {}), **options}
        return f"export?{urlencode(given)}"


_NAMES = {"search": "q"}
