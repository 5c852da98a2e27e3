"""A file -> checked conversations.

`read(path)` recognises what a person brings and streams its rows (see `core.data.importing`);
`core.data.split` holds rows out for evaluation.
"""

from core.data.findings import Finding, NeedsChoice, NeedsMapping, Refused
from core.data.importing import Imported, read

__all__ = ["Finding", "Imported", "NeedsChoice", "NeedsMapping", "Refused", "read"]
