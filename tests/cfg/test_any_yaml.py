"""Whatever a YAML holds, a dataset, a model or a recipe made of it is read or refused in one line."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ultralytics.cfg.config import KNOBS, get_cfg
from ultralytics.cfg.dataset import SPLITS, load_dataset
from ultralytics.cfg.model import MODEL_KEYS, load_model_spec
from ultralytics.utils.errors import UserError

SCALARS = st.sampled_from(
    (
        "", ".inf", "-.inf", ".nan", "~", "off", "010", "1:30", "1.0e400", "2024-01-01", "0x1F", "9" * 5000, "-1", "0",
        "3", "'a'", '"\\uD800"', '"\\0"', '"\\x7f"', "!!binary aGk=", "&a [*a]", "*b", "images", "../x", "~nobody/x",
        "'  '", "s", "[-1, 1, Conv, [64]]", "[17, 3]", "!!set {a}", "!!int a", "!!float x", "!!map [1]", "=", "1_000",
        "x.txt", "loop",
    )
)  # fmt: skip
PLAIN = SCALARS.filter(lambda s: s and s[0] not in "[{&*!")
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda v: f"[{', '.join(v)}]")
        | st.dictionaries(PLAIN, inner, max_size=3).map(lambda d: f"{{{', '.join(f'{k}: {v}' for k, v in d.items())}}}")
    ),
    max_leaves=8,
)
DATASET = {"train": "images", "val": "images", "names": "[a]"}
MODEL = {"nc": "3", "backbone": "[[-1, 1, Conv, [64, 3, 2]]]", "head": "[[-1, 1, Detect, [nc]]]"}


def load(file):
    spec = load_dataset(file, [])
    for split in spec.splits:
        spec.split(split)


@pytest.mark.parametrize(
    ("read", "base", "keys"),
    [
        (
            load,
            DATASET,
            [
                *("path", *SPLITS, "validation", "names", "nc", "kpt_shape", "flip_idx", "task", "prepare", "download"),
                *("<<", ".inf"),
            ],
        ),
        (load_model_spec, MODEL, [*MODEL_KEYS, "<<", ".inf"]),
        (get_cfg, {}, [*KNOBS, "<<", "~"]),
    ],
    ids=["dataset", "model", "recipe"],
)
@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_read_or_refused(read, base, keys, tmp_path, data):
    changed = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=3))
    file = tmp_path / "yolov8m.yaml"
    file.write_text("".join(f"{k}: {v}\n" for k, v in {**base, **changed}.items()), encoding="utf-8")
    with suppress(UserError):  # its text is one line, whatever it is made of
        read(file)
