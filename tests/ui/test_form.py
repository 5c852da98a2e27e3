import gradio as gr
import pytest

from core.config import TrainConfig, complete, parse_config, problems
from core.errors import UserError
from ui import form


@pytest.fixture(scope="module")
def components():
    with gr.Blocks():
        return form.components()[0]


def test_every_setting_has_a_component_or_a_place_of_its_own(components):
    settings = set(components) - {form.PATTERN}
    assert settings | set(form.ELSEWHERE) == set(TrainConfig.model_fields)
    assert list(components) == list(form.NAMES)


def test_components_carry_title_term_and_help(components):
    rank = components["lora_r"]
    assert rank.label == "How much it can learn"
    assert rank.info.startswith("*rank* · Higher:")
    assert "Textbox" not in {component.label for component in components.values()}


def test_an_untouched_form_is_the_default_configuration(components):
    values = {name: component.value for name, component in components.items()}
    assert parse_config(form.read(values)) == TrainConfig()


def test_what_is_typed_becomes_the_setting():
    typed = {"lora_r": "32", "learning_rate": "2e-4", "num_train_epochs": "1.5", "max_steps": "",
             "target_modules": ["q_proj", "v_proj"]}  # fmt: skip
    config = parse_config(form.read(typed))
    assert (config.lora_r, config.learning_rate, config.num_train_epochs) == (32, 2e-4, 1.5)
    assert config.max_steps is None
    assert config.target_modules == ["q_proj", "v_proj"]


@pytest.mark.parametrize("typed", ["much", "0", "1.5"])
def test_what_can_not_be_a_setting_is_refused_with_its_title(typed):
    with pytest.raises(UserError, match="How much it can learn") as problem:
        parse_config(form.read({"lora_r": typed}))
    assert problem.value.field == "lora_r"


def test_a_configuration_goes_into_the_form_and_comes_out_the_same():
    config = complete(
        TrainConfig(dataset="d", method="dora", target_modules="attention", seed=7), 400, 10**9
    )
    shown = form.write(config.model_dump())
    own = {name: getattr(config, name) for name in form.ELSEWHERE}
    assert parse_config({**own, **form.read(shown)}) == config


def test_a_pattern_takes_the_place_of_the_chips():
    pattern = r".*layers\.[0-1]\..*q_proj"
    typed = {"target_modules": ["attention"], form.PATTERN: f" {pattern} "}
    config = parse_config(form.read(typed))
    assert config.target_modules == pattern
    assert config.layers == ""
    shown = form.write(config.model_dump())
    assert (shown["target_modules"], shown[form.PATTERN]) == (["all-linear"], pattern)
    assert list(shown) == list(form.NAMES)
    assert parse_config(form.read({**typed, form.PATTERN: ""})).target_modules == "attention"


def test_every_field_that_is_wrong_is_named():
    wrong = problems({"lora_r": "much", "batch_size": "0", "name": "n" * 81})
    assert wrong == {
        "lora_r": "must be a whole number, not 'much'",
        "batch_size": "must be at least 1",
        "name": "must not be longer than 80 characters",
    }
    assert problems({"lora_r": "8"}) == {}


def test_empty_fields_show_what_would_be_chosen():
    completed = complete(TrainConfig(), 400, 10**9).model_dump()
    hints = form.placeholders(completed)
    assert hints["lora_r"]["placeholder"] == "Graft chooses: 16"
    assert hints["learning_rate"]["placeholder"] == "Graft chooses: 0.0003"
    assert "max_steps" not in hints


def test_a_group_of_modules_stands_alone():
    assert form.pick_modules(["all-linear", "attention"], "attention") == ["attention"]
    assert form.pick_modules(["all-linear", "q_proj"], "q_proj") == ["q_proj"]
    assert form.pick_modules(["all-linear"], "q_proj") == ["q_proj"]  # it does not know yet
    assert form.pick_modules(["q_proj", "v_proj"], "v_proj", selected=False) == ["q_proj"]
    assert form.pick_modules(["mlp"], "mlp", selected=False) == ["all-linear"]
    assert form.pick_modules([], "") == ["all-linear"]
