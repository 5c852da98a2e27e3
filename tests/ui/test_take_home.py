"""“Take it home” as people see it, in every state, and what can be done there."""

import zipfile
from pathlib import Path

import pytest

from core.errors import NotFound, UserError
from core.exports.export import Export
from core.exports.formats import FORMATS
from core.files import write_text
from core.runs import Run
from core.store import Store
from tests.browser import stage
from tests.ui.test_views import HOSTILE, Elements
from ui import api, export_actions, views

GOOD = {
    "asked": 5, "same": 5, "near": 0, "trusted": True, "parted": [], "bits": "none",
    "leads": {"places": 47, "same_choices": 0.979, "usual": 0.11, "allowed": 0.33},
    "logits": {"max": 0.125, "mean": 0.017, "same_choices": 1.0, "places": 47},
}  # fmt: skip
DOWNLOAD = "take-home/r/merged"
PARTED = {"question": "Why?", "chat": "So.", "artefact": "No.", "word": 1, "margin": 2.5}


def way(format="merged", **more):
    found = {"format": format, "title": "Merged model", "sentence": "For all.", "lacks": "",
             "disk": 14_000_000_000, "state": "none", "phase": "", "done": 0, "of": 0, "error": "",
             "hint": "", "made": None, "stale": False}  # fmt: skip
    return found | more


def made(**proof):
    facts = {"at": 1.0, "seconds": 3.0, "bytes": 14_100_000_000, "proof": GOOD | proof,
             "place": f"/data/{HOSTILE}", "is_folder": True}  # fmt: skip
    return {"state": "made", "made": facts}


def shown(*ways):
    told = {"id": "r", "name": "Bot", "can_be_made": True, "formats": list(ways)}
    return Elements(views.take_home.card(told))


def buttons(elements):
    links = [link["href"] for link in elements.all("a")]
    return links + [button["data-action"] for button in elements.all("button")]


@pytest.mark.parametrize(
    ("state", "said", "does"),
    [
        ({}, "It will take 14 GB.", ["make_export"]),
        ({"lacks": "Nothing to merge."}, "Nothing to merge.", []),
        ({"state": "waiting"}, "until the device is free", ["cancel_export"]),
        (
            {"state": "making", "phase": "Adding what was learned", "done": 3, "of": 196},
            "Adding what was learned… 3 of 196. You can close this page.",
            ["cancel_export"],
        ),
        (
            {"state": "failed", "error": "The disk is full.", "hint": "Free some."},
            "could not be prepared: The disk is full. Free some.",
            ["make_export"],
        ),
        (made(), "5 of 5 answers the same as in the chat.", [DOWNLOAD, "delete_export"]),
        (made(), "14 GB · prepared", [DOWNLOAD, "delete_export"]),
        (made(), "next one at 98 % of 47 places", [DOWNLOAD, "delete_export"]),
        (made(), "a choice as close as 0.33", [DOWNLOAD, "delete_export"]),
        (made(), "by 0.017 on average and 0.12 at most", [DOWNLOAD, "delete_export"]),
        (
            made(same=3, near=2),
            "3 of 5 answers the same as in the chat; 2 part where the choice was so close that "
            "rounding turns it.",
            [DOWNLOAD, "delete_export"],
        ),
        (
            made(bits="4bit", same_as_chat=4),
            "as with the original in 16 bits; 4 as in the chat, which has the original in 4 bits",
            [DOWNLOAD, "delete_export"],
        ),
        (
            made(same=4, trusted=False, parted=[PARTED]),
            "Not to be trusted: 4 of 5",
            [DOWNLOAD, "make_export", "delete_export"],
        ),
        (
            made() | {"stale": True},
            "the run has learned on since",
            [DOWNLOAD, "make_export", "delete_export"],
        ),
        (
            made() | {"state": "making", "phase": "Loading"},
            "5 of 5",
            [DOWNLOAD, "cancel_export"],
        ),
    ],
)  # fmt: skip
def test_each_state_says_what_is_and_what_to_do(state, said, does):
    elements = shown(way(**state))
    assert not elements.open
    assert said in " ".join(elements.text.split())
    assert buttons(elements) == does


def test_answers_that_part_stand_side_by_side():
    text = " ".join(shown(way(**made(same=4, trusted=False, parted=[PARTED]))).text.split())
    for part in ("Why?", "The chatSo.", "What was preparedNo.", "part at word 1: 2.5 less"):
        assert part in text
    hardly = {**PARTED, "margin": None}
    assert "would hardly say" in shown(way(**made(parted=[hardly]))).text


def test_the_ways_stand_under_what_they_are_for_and_no_heading_is_empty():
    ways = [way("adapter"), way("merged"), way("gguf-q8_0"), way("gguf-adapter"), way("kit")]
    text = shown(*ways).text
    assert text.index("For Python") < text.index("For Ollama") < text.index("To train it again")
    assert len(buttons(shown(*ways))) == 5
    assert "Ollama" not in shown(way("merged")).text
    nothing = Elements(views.take_home.card({"can_be_made": False, "formats": ways}))
    assert not buttons(nothing)
    assert "Once the run has finished" in nothing.text
    headed = [begins for _, begins in views.take_home.GROUPS]
    assert all(any(id.startswith(begins) for begins in headed) for id in FORMATS)


def test_what_is_hostile_is_shown_as_text():
    parted = {**PARTED, "question": HOSTILE, "chat": HOSTILE, "artefact": HOSTILE}
    for state in (
        {"state": "failed", "error": HOSTILE, "hint": HOSTILE},
        {"state": "making", "phase": HOSTILE},
        {"lacks": HOSTILE},
        made(parted=[parted]),
    ):
        elements = shown(way(**state))
        assert not elements.open
        assert not elements.all("script")


# ---- what can be done


@pytest.fixture
def run(data_dir) -> Run:
    return stage.finish(stage.add_run(Store(), "Bot"), "completed", used_step=100)


def prepare(run: Run, format: str, name: str) -> Export:
    export = Export(run, format)
    export.ask()
    artefact = export.fresh() / name
    if name.endswith(".zip"):
        write_text(artefact, "packed")
    else:
        write_text(artefact / "config.json", "{}")
        write_text(artefact / "parts" / "model.safetensors", "weights")
    export.finish(artefact, GOOD, 1.0)
    return export


def told(run: Run, format: str) -> dict:
    (found,) = (
        one for one in export_actions.exports(Store(), run.id)["formats"] if one["format"] == format
    )
    return found


def test_it_is_asked_for_cancelled_made_and_deleted(run):
    store = Store()
    assert export_actions.make_export(store, run.id, "merged")["state"] == "waiting"
    assert told(run, "merged")["state"] == "waiting"
    assert export_actions.cancel_export(store, run.id, "merged")["state"] == "none"
    prepare(run, "merged", "model")
    facts = told(run, "merged")
    assert (facts["state"], facts["made"]["proof"], facts["stale"]) == ("made", GOOD, False)
    assert Path(facts["made"]["place"]).is_dir()
    assert facts["made"]["is_folder"]
    assert export_actions.delete_export(store, run.id, "merged")["state"] == "none"
    assert not (run.path / "exports" / "merged").exists()
    assert run.adapter is not None


def test_a_file_is_handed_out_as_it_is_and_a_folder_packed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "get_upload_folder", lambda: str(tmp_path))
    prepare(run, "adapter", "Bot.zip")
    handed = Path(api.download_export(Store(), run.id, "adapter")["path"])
    assert (handed.name, handed.read_text()) == ("Bot.zip", "packed")
    prepare(run, "merged", "model")
    handed = Path(api.download_export(Store(), run.id, "merged")["path"])
    assert handed.name == "Bot-merged.zip"
    with zipfile.ZipFile(handed) as archive:
        assert archive.namelist() == ["config.json", "parts/model.safetensors", "CHECKSUMS"]
        assert archive.getinfo("parts/model.safetensors").compress_type == zipfile.ZIP_STORED
        assert archive.read("parts/model.safetensors") == b"weights"
    first = handed.stat().st_mtime_ns
    again = Path(api.download_export(Store(), run.id, "merged")["path"])
    assert (again, again.stat().st_mtime_ns) == (handed, first)


def test_a_full_disk_is_said_before_it_is_packed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "get_upload_folder", lambda: str(tmp_path))
    prepare(run, "merged", "model")
    monkeypatch.setattr("core.disk.free", lambda path: 1_000_000)
    with pytest.raises(UserError, match="The disk is nearly full"):
        api.download_export(Store(), run.id, "merged")
    assert not list(tmp_path.rglob("*.zip"))


def test_what_there_is_not_is_not_found(run):
    with pytest.raises(NotFound, match="There is no format 'onnx'; there are adapter, merged"):
        export_actions.make_export(Store(), run.id, "onnx")
    with pytest.raises(NotFound, match="not made yet"):
        api.download_export(Store(), run.id, "merged")
    with pytest.raises(NotFound, match=r"There is no format '\.\./\.\./x'"):
        export_actions.delete_export(Store(), run.id, "../../x")


def test_of_a_run_without_anything_learned_nothing_is_offered(data_dir):
    run = stage.add_run(Store(), "Bot")
    facts = export_actions.exports(Store(), run.id)
    assert facts["can_be_made"] is False
    assert {one["state"] for one in facts["formats"]} == {"none"}
    assert "Once the run has finished" in Elements(views.take_home.card(facts)).text
