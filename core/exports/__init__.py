"""Taking a run home: the formats, how each is made, and whether it answers as the chat does."""

from core.exports import adapter, merged
from core.exports.formats import FORMATS
from core.exports.gguf import offered as gguf
from core.exports.kit import offered as kit

FORMATS.update(
    {made.id: made for made in (adapter.FORMAT, merged.FORMAT, *gguf.FORMATS, *kit.FORMATS)}
)
