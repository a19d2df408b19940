"""What the page was asked to show, and the addresses of its other views."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from urllib.parse import urlencode

from markbook.scoring.dashboard.time_range import Period


@dataclass(frozen=True, slots=True)
class PageQuery:
    """`query` searches the marks, `before` is where their list goes on, `mark` is the one to be read."""

    since: Period = Period.DAY
    run: str | None = None
    query: str = ""
    before: str | None = None
    mark: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether the page may load itself anew: not under the eyes of who reads or searches marks."""
        return not (self.query or self.before or self.mark)

    def link(self, at: str = "", **changes: str | None) -> str:
        """This view's address with `changes`; `at` names a place on the page."""
        values = asdict(replace(self, **changes))  # type: ignore[arg-type]
        values["since"] = values["since"] if values["since"] != Period.DAY else None
        given = {_NAMES.get(name, name): value for name, value in values.items() if value}
        return f"?{urlencode(given)}{at}" if given else f".{at}"


_NAMES = {"query": "q"}
