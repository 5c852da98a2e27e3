"""Facts in, HTML out: every panel of the pages as a pure function. All text is escaped here.

The parts that every page uses stand here; those of one page in the module of its name.
"""

from ui.views import compare, data, datasets, home, new, runs, settings
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
)

__all__ = [
    "compare",
    "data",
    "datasets",
    "device_chip",
    "dialog",
    "heading",
    "home",
    "invitation",
    "new",
    "notice",
    "radio_cards",
    "runs",
    "settings",
    "subtitle",
    "title",
    "top_bar",
]
