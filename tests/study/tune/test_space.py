import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.cfg.config import KNOBS
from ultralytics.cfg.paths import SPACE_FOLDERS, bundled, find_space
from ultralytics.study.tune.space import FIXED, fit_space, parse_space, read_space
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError


def axis(text):
    return next(iter(read_space(f"{{{text}}}").values()))


def test_the_default_space_is_the_references():
    """Ranges of facts on ultralytics 8.2.103's tuner; copy_paste is of masks, which there are none of here."""
    space = read_space()
    assert len(space) == 22
    found = {k: (a.low, a.high) for k, a in space.items()}
    assert found["lr0"] == (1e-5, 0.1)
    assert found["momentum"] == (0.7, 0.98)
    assert found["box"] == (1, 20)
    assert found["perspective"] == (0, 0.001)
    assert space["lr0"].log
    assert not space["box"].log


@pytest.mark.parametrize("name", bundled(SPACE_FOLDERS))
def test_bundled_spaces_can_be_read(name):
    assert len(read_space(name)) > 4
    assert find_space(name).name == name


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("lr0: [1e-4, 0.1, log]", {"low": 1e-4, "high": 0.1, "log": True}),
        ("mosaic: [0, 1]", {"low": 0.0, "high": 1.0}),
        ("imgsz: [320, 650]", {"low": 320, "high": 640, "step": 32}),
        ("imgsz: {low: 320, high: 640, step: 160}", {"low": 320, "high": 640, "step": 160}),
        ("close_mosaic: [0, 10]", {"low": 0, "high": 10}),
        ("optimizer: [SGD, adamw]", {"choices": ["SGD", "AdamW"]}),
        ("nbs: {choices: [16, 64]}", {"choices": [16, 64]}),
        ("cos_lr: [true, false]", {"choices": [True, False]}),
        ("freeze: {choices: [10, [0, 1]]}", {"choices": [10, [0, 1]]}),
    ],
)
def test_forms_of_an_axis(text, data):
    found = axis(text)
    assert found.to_data() == data
    assert parse_space({found.key: data}, lambda *_: "") == {found.key: found}


def test_letters_of_scale_are_the_models():
    assert list(read_space("{scale: [n, s]}")) == ["model_scale"]
    assert list(read_space("{scale: [0.1, 0.5]}")) == ["scale"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: [0, 1]", "unknown key 'lr' (did you mean 'lrf' or 'lr0'?)"),
        ("lr0: 3", "lr0: 3 is neither a range nor choices (a single value is given as lr0=3)"),
        ("lr0: [0, 2]", "lr0=2 is out of range (valid: 0 to 1)"),
        ("lr0: [0, 0.1, log]", "lr0: a logarithmic range cannot begin at 0 (a low above 0, or no log)"),
        ("lr0: [0.1, 0.01]", "lr0: low 0.1 must be below high 0.01 (swap them, or give one value)"),
        ("lr0: {low: 0.1}", "lr0: a range needs the numbers low and high (lr0: [low, high])"),
        ("lr0: {low: 0.1, high: 0.2, lgo: true}", "lr0: unknown word 'lgo' (did you mean 'low' or 'log'?)"),
        ("lr0: {low: 0.1, high: 0.2, log: 3}", "lr0: log must be true or false, and is 3"),
        ("lr0: {low: 0.1, high: 0.2, step: 1}", "lr0: step 1 must be above 0 and at most 0.1"),
        ("lr0: {low: 0.1, high: 0.2, step: fine}", "lr0: step must be a number, and is fine"),
        ("nbs: {low: 8, high: 64, step: true}", "nbs: step must be a number, and is True"),
        ("nbs: {low: 1, high: 9, step: 1.5}", "nbs: step 1.5 must be an integer"),
        ("nbs: [1.5, 9]", "nbs=1.5 must be an integer"),
        ("box: [1, 2, 3]", "box: [1, 2, 3] is not a range (a range is [low, high] or [low, high, log]; these values"),
        ("optimizer: [SGD]", "optimizer: choices must be a list of two or more values"),
        ("optimizer: [SGD, sgd]", "optimizer: a choice is there twice"),
        ("optimizer: {low: 1, high: 2}", "optimizer has no range: it takes"),
        ("epochs: [1, 2]", "epochs cannot be searched (every trial has the same budget and data: give it a value)"),
        ("seed: [1, 2]", "seed cannot be searched (the best seed is luck"),
        ("conf: [0.1, 0.2]", "conf cannot be searched (it changes how a trial is measured"),
        ("source: [a, b]", "source is a key of predict"),
    ],
)
def test_a_mistake_is_one_line(text, message):
    with pytest.raises(UserError) as caught:
        axis(text)
    assert str(caught.value).startswith(f"space=: {message}")
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_file_has_its_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("lr0: [0.001, 0.01]\n\nmosiac: [0, 1]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 3: unknown key 'mosiac' \(did you mean 'mosaic'"):
        read_space(file)
    with pytest.raises(MissingFileError, match="no such space of a tune"):
        read_space("gone.yaml")
    file.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="a space is a mapping"):
        read_space(file)


def test_keys_that_may_not_be_searched_are_keys():
    assert set(FIXED) <= set(KNOBS)


def test_keys_without_effect_are_left_out_of_the_default_and_refused_in_a_chosen_space():
    space, lines = fit_space(read_space(), {}, True)
    assert {"lr0", "momentum"} & set(space) == set()
    assert lines[0].startswith("not searched: lr0: optimizer=auto chooses it")
    assert len(fit_space(read_space(), {"optimizer": "AdamW"}, True)[0]) == 22
    for text, base, why in (
        ("lr0: [0.001, 0.1]", {}, "optimizer=auto"),
        ("lr0: [0.001, 0.1], optimizer: [auto, SGD]", {}, "optimizer=auto"),
        ("mosaic: [0, 1]", {"rect": True}, "rect=True"),
        ("warmup_momentum: [0, 0.9]", {"warmup_epochs": 0}, "warmup_epochs=0"),
    ):
        with pytest.raises(ConfigError, match=f"has no effect: {why}"):
            fit_space(read_space(f"{{{text}}}"), base, False)
    fit_space(read_space("{warmup_momentum: [0, 0.9], warmup_epochs: [0, 3]}"), {"warmup_epochs": 0}, False)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_range_holds_what_lies_in_it(a, b, value):
    if a < b:
        found = read_space(yaml.safe_dump({"mosaic": {"low": a, "high": b}}, default_flow_style=True))["mosaic"]
        assert found.holds(value) == (a <= value <= b)


def test_files_in_a_space_are_resolved(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("model: [a.yaml, b.yaml]\noptimizer: [SGD, Adam]\n", encoding="utf-8")
    space = read_space(file, lambda key, value: f"/x/{value}" if key == "model" else value)
    assert space["model"].choices == ("/x/a.yaml", "/x/b.yaml")
    assert space["optimizer"].choices == ("SGD", "Adam")


# The keys that a trial's result depends on: a space may have them. A new key of train belongs here or in FIXED.
SEARCHED = set(
    """adapter amp auto_augment batch bgr box close_mosaic cls copy_paste cos_lr crop_fraction degrees dfl distill
    distill_gain dropout ema erasing fliplr flipud freeze hsv_h hsv_s hsv_v imgsz kobj lr0 lr_gate lr_new
    lr_transferred lrf mask_ratio mixup model model_scale momentum mosaic multi_scale nbs on_nan optimizer
    overlap_mask perspective pose pretrained rect scale shear sync_bn teacher tile_background tile_visible
    train_only transfer translate warmup_bias_lr warmup_epochs warmup_momentum weight_decay
    """.split()  # noqa: SIM905  # fifty words, not fifty lines
)


def test_every_key_of_train_is_searched_or_has_a_reason_why_not():
    keys = {k for k, knob in KNOBS.items() if "train" in knob.modes}
    assert keys - set(FIXED) == SEARCHED


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({"log": ["csv", "wandb"]}, "log cannot be searched"),
        ({"log_images": {"choices": [True, False]}}, "no figure depends on it"),
        ({"freeze": [0, 10]}, r"freeze: two numbers are a range \(freeze has no range; .*choices: \[0, 10\]"),
        ({"imgsz": [33, 70]}, "imgsz: low 33 and step 32 must be multiples of 32"),
        ({"imgsz": {"low": 64, "high": 256, "step": 40}}, "must be multiples of 32"),
    ],
)
def test_what_would_be_searched_in_vain_is_refused(space, match):
    with pytest.raises(UserError, match=match):
        read_space(space)


def test_choices_of_numbers_are_said_to_be_choices():
    assert read_space({"freeze": {"choices": [0, 10]}})["freeze"].choices == (0, 10)
    assert read_space({"imgsz": [64, 127]})["imgsz"].high == 96
