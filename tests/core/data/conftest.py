"""Files of a few lines, written by the test that reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.data import Finding, Imported, NeedsMapping, read


@dataclass
class Result:
    """What an import gave, with its rows read to the end."""

    imported: Imported
    rows: list[dict[str, Any]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(question, answer) of each row: the last two turns."""
        return [
            (row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in self.rows
        ]

    def finding(self, code: str) -> Finding:
        found = [finding for finding in self.imported.findings if finding.code == code]
        assert len(found) == 1, self.imported.findings
        return found[0]

    @property
    def codes(self) -> set[str]:
        return {finding.code for finding in self.imported.findings}


@pytest.fixture
def imports(tmp_path: Path) -> Callable[..., Result]:
    """Write content (text as UTF-8, line ends as they are) and read it."""

    def run(content: str | bytes, name: str = "file.csv", **options: Any) -> Result:
        path = tmp_path / "upload"
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        imported = read(path, name=name, **options)
        return Result(imported, list(imported.rows))

    return run


@pytest.fixture
def asks(imports: Callable[..., Result]) -> Callable[..., NeedsMapping]:
    """Write content, read it, and expect the question about the columns."""

    def run(content: str | bytes, name: str = "file.csv", **options: Any) -> NeedsMapping:
        with pytest.raises(NeedsMapping) as caught:
            imports(content, name, **options)
        return caught.value

    return run
