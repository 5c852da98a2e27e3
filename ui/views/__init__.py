"""Facts in, HTML out: every panel of the pages as a pure function. All text is escaped here.

The parts that every page uses stand here; those of one page in the module of its name.
"""

from ui.views import (
    ablation,
    beside,
    bring,
    compare,
    datasets,
    disk,
    doctor,
    home,
    login,
    new,
    people,
    rows,
    runs,
    settings,
    tokens,
    vote,
)
from ui.views.parts import (
    device_chip,
    dialog,
    heading,
    invitation,
    notice,
    radio_cards,
    subtitle,
    title,
    top_bar,
    undo,
)

__all__ = [
    "ablation",
    "beside",
    "bring",
    "compare",
    "datasets",
    "device_chip",
    "dialog",
    "disk",
    "doctor",
    "heading",
    "home",
    "invitation",
    "login",
    "new",
    "notice",
    "people",
    "radio_cards",
    "rows",
    "runs",
    "settings",
    "subtitle",
    "title",
    "tokens",
    "top_bar",
    "undo",
    "vote",
]
