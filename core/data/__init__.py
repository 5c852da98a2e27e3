"""A file -> checked conversations.

`read(path)` recognises what a person brings and streams its rows (see `core.data.importing`);
`core.data.split` holds rows out for evaluation.
"""

from core.data.findings import (
    Cancelled,
    Finding,
    NeedsChoice,
    NeedsConsent,
    NeedsMapping,
    Refused,
)
from core.data.importing import ALL, Imported, preview, read

__all__ = [
    "ALL",
    "Cancelled",
    "Finding",
    "Imported",
    "NeedsChoice",
    "NeedsConsent",
    "NeedsMapping",
    "Refused",
    "preview",
    "read",
]
