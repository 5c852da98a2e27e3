import json
import zipfile

import pytest

from core import sources
from core.prepare import import_dataset
from core.store import Store
from tests.ui.test_views import Elements
from ui import bring


def selected(html: str, field: str) -> str:
    """What is chosen in the form's list of this name."""
    start = html.index(f'<select data-field="{field}"')
    options = Elements(html[start : html.index("</select>", start) + 9]).all("option")
    (chosen,) = [option["value"] for option in options if "selected" in option]
    return json.loads(chosen)


@pytest.mark.parametrize(
    ("given", "shown"), [(None, "cp1252"), ("cp1250", "cp1250"), ("latin-1", "latin-1")]
)
def test_the_letters_of_a_packed_file_are_shown_as_they_were_read(tmp_path, given, shown):
    path = tmp_path / "shop.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "question,answer\nJak się masz?,Świetnie!\n".encode("cp1250"))
    store = Store()
    dataset = import_dataset(store, path, "shop.zip", encoding=given)
    upload = sources.keep_again(store, dataset.id)
    form = bring._form(upload, upload.facts["options"], new=False)
    assert selected(form, "encoding") == shown


def test_what_has_no_letters_is_not_asked_for_them(tmp_path, testdata):
    store = Store()
    file = testdata / "shapes/containers/instruction_3sheets.xlsx"
    upload = sources.keep_again(store, import_dataset(store, file, file.name).id)
    assert 'data-field="encoding"' not in bring._form(upload, {}, new=False)
