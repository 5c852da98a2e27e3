"""The settings: refused in words, completed by what suits the data and the model."""

import pytest

from core.config import TrainConfig, asked, complete, parse_config
from core.errors import UserError


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lora_r": 0}, r"lora_r \(How much it can learn\): must be at least 1"),
        ({"lora_r": "many"}, "must be a whole number, not 'many'"),
        ({"learning_rate": -1}, "must be more than 0"),
        ({"learning_rate": 5}, "must be at most 0.1"),
        ({"learning_rate": "fast"}, "must be a number"),
        ({"lora_dropout": 1}, "must be less than 1"),
        ({"preset": "lazy"}, "must be one of 'quick', 'balanced' or 'thorough'"),
        ({"name": "x" * 81}, "must not be longer than 80 characters"),
        ({"lora_rank": 8}, "there is no such setting"),
        ({"target_modules": "q_proj("}, "regular expression"),
        ({"target_modules": []}, "at least one"),
        ({"target_modules": "(a+)+$"}, "repeats"),
        ({"target_modules": "(.*)*x"}, "repeats"),
        ({"target_modules": ".*a.*b.*c.*d.*"}, "repeats"),
        ({"eval_fraction": 0.9}, "eval_fraction"),
    ],
)
def test_a_wrong_value_is_refused_by_the_fields_name(values, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_config(values)
    assert caught.value.field == next(iter(values))


@pytest.mark.parametrize(
    "pattern", [r".*\.(q|v)_proj", r"model\.layers\.[0-9]+\..*(att|mlp).*", r"(x\+)*y", "[a+]*b"]
)
def test_an_ordinary_regular_expression_is_taken(pattern):
    assert parse_config({"target_modules": pattern}).target_modules == pattern


def test_every_setting_explains_itself():
    for name, field in TrainConfig.model_fields.items():
        assert field.title, name
        assert field.description, name


@pytest.mark.parametrize(("rows", "rank", "batch"), [(30, 8, 4), (200, 16, 8), (30_000, 64, 32)])
def test_the_number_of_rows_decides(rows, rank, batch):
    config = complete(TrainConfig(), rows, 600_000_000)
    assert (config.lora_r, config.lora_alpha, config.batch_size) == (rank, 2 * rank, batch)
    assert config.learning_rate == 3e-4


def test_what_the_person_chose_stays():
    config = complete(TrainConfig(lora_r=4, learning_rate=1e-5), 200, 7_000_000_000)
    assert (config.lora_r, config.lora_alpha, config.learning_rate) == (4, 8, 1e-5)


def test_few_rows_make_at_least_sixty_updates():
    config = complete(TrainConfig(), 30, 10_000_000)
    assert config.num_train_epochs * 30 / config.batch_size >= 60


def test_presets_differ_in_the_right_direction():
    quick, balanced, thorough = (
        complete(TrainConfig(preset=preset), 200, 10_000_000)
        for preset in ("quick", "balanced", "thorough")
    )
    assert quick.num_train_epochs < balanced.num_train_epochs < thorough.num_train_epochs
    assert quick.lora_r < balanced.lora_r < thorough.lora_r


def test_a_complete_config_survives_the_disk():
    config = complete(TrainConfig(target_modules=["q_proj", "v_proj"]), 100, 1_000_000)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("rows", [30, 240, 5_000, 40_000])
@pytest.mark.parametrize(
    "chosen", [{}, {"max_steps": 6000}, {"lora_r": 6, "preset": "thorough"}, {"method": "ia3"}]
)
def test_what_was_only_chosen_for_the_person_can_be_told_from_what_they_chose(rows, chosen):
    config = TrainConfig(**chosen)
    assert asked(complete(config, rows, 4_500_000), rows, 4_500_000) == config
