"""A folder as one zip that nobody has to have room for."""

import io
import zipfile

import pytest

from core.exports.archive import files_in, packed, packed_size


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 6000, 400, 100])
def test_its_size_is_known_before_also_of_what_is_large(tmp_path, monkeypatch, limit):
    """`limit`: bytes from which on zipfile writes longer numbers; 2 GiB elsewhere."""
    (tmp_path / "parts").mkdir()
    sizes = {"config.json": 10, "empty": 0, "parts/ä.safetensors": 5000, "z": 300}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    files = files_in(tmp_path)
    content = b"".join(packed(files))
    assert len(content) == packed_size(files)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*sizes, "CHECKSUMS"]
