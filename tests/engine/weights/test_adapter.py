"""Adapters: what inserted rows hold, as a file, and back."""

import pytest
import torch
import yaml
from torch import nn

from tests.conftest import CLONE
from ultralytics.cfg.model import ModelSpec
from ultralytics.cfg.surgery import insert_rows
from ultralytics.engine.weights.adapter import fill, freeze_all_but, inserted_rows, read_adapter, write_adapter
from ultralytics.engine.weights.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError


def network(tmp_path, after, module="FLABlock(2)", width=0.06):
    """A very small YOLOv8 with a module after rows, and the names of its new parameters."""
    data = yaml.safe_load((CLONE / "cfg" / "models" / "yolov8.yaml").read_text(encoding="utf-8"))
    data["scales"] = {"n": [0.1, width, 256]}
    file = tmp_path / "plain.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    plain = DetectionModel(str(file), nc=2, verbose=False)
    spec = ModelSpec.from_dict(yaml.safe_load(insert_rows(file, after, module)), "n")
    model = DetectionModel(spec, nc=2, verbose=False)
    new = model.load(plain).new
    with torch.no_grad():
        for name in new:
            if model.state_dict()[name].is_floating_point():
                model.state_dict()[name].normal_()
    return model, [n for n, _ in model.named_parameters() if n in new]


@pytest.fixture
def written(tmp_path):
    """An adapter of two rows, the network it comes from, and its new parameters."""
    model, new = network(tmp_path, [9, 15], "ConvBlock(2)")
    path = tmp_path / "adapter.pt"
    source = Checkpoint(tmp_path / "best.pt", {}, {}, model.state_dict(), state={"provenance": {"seed": 3}})
    assert [r.row for r in write_adapter(path, model, source, new)] == [10, 17]
    return path, model, new


def test_an_adapter_holds_the_inserted_rows_and_nothing_else(written):
    path, model, _ = written
    rows = read_adapter(path)
    state = model.state_dict()
    assert [(r.row, r.module, r.channels) for r in rows] == [(10, "ConvBlock", [16]), (17, "ConvBlock", [16])]
    held = {f"model.{r.row}.{n}": t for r in rows for n, t in r.tensors.items()}
    assert set(held) == {n for n in state if n.startswith(("model.10.", "model.17."))}  # statistics too
    assert any(n.endswith("running_mean") for n in held)
    assert all(torch.equal(t, state[n]) for n, t in held.items())
    assert path.stat().st_size < 40 * sum(t.numel() for t in held.values())


def test_an_adapter_fills_rows_of_its_kind_and_width_in_another_network(written, tmp_path):
    path, source, _ = written
    model, new = network(tmp_path, [2, 9, 15], "ConvBlock(2)")
    before = {n: t.clone() for n, t in model.state_dict().items()}
    filled, lines = fill(model, read_adapter(path), new, str(path))
    ours, theirs = model.state_dict(), source.state_dict()
    assert [(r.row, r.channels) for r in inserted_rows(model, new)] == [(3, [8]), (11, [16]), (18, [16])]
    for here, there in ((11, 10), (18, 17)):
        for name in [n for n in ours if n.startswith(f"model.{here}.")]:
            assert torch.equal(ours[name], theirs[name.replace(f"model.{here}.", f"model.{there}.")])
            assert name in filled
    assert all(torch.equal(ours[n], before[n]) for n in ours if n not in filled)
    assert lines[0] == f"Adapter {path}: {len(filled)} tensors"
    assert any(line.endswith("not in the file, left as initialised") for line in lines)


@pytest.mark.parametrize(
    ("module", "width"), [("FLABlock(2)", 0.06), ("ConvBlock(2)", 0.12)], ids=["another kind", "another width"]
)
def test_an_adapter_of_which_no_row_fits_is_one_line(written, tmp_path, module, width):
    path, _, _ = written
    model, new = network(tmp_path, 9, module, width)
    with pytest.raises(ConfigError) as e:
        fill(model, read_adapter(path), new, str(path))
    message = str(e.value)
    assert "it holds ConvBlock at 16 channels, ConvBlock at 16 channels; new here: " in message
    assert f"{module[:-3]} at {16 if width == 0.06 else 32} channels" in message
    assert "\n" not in message


def test_files_that_are_no_adapter(written, tmp_path):
    path, model, _ = written
    with pytest.raises(MissingFileError, match="adapter file"):
        read_adapter(tmp_path / "none.pt")
    weights = tmp_path / "weights.pt"
    save_checkpoint(weights, {"model": {}, "names": {}, "ema": {}})
    with pytest.raises(CheckpointError, match="no adapter"):
        read_adapter(weights)
    with pytest.raises(CheckpointError, match="name it with adapter="):
        load_checkpoint(path)
    content = torch.load(path, weights_only=True)
    for rows in ([], [{"row": 1}], None, [content["rows"][0] | {"channels": "16"}]):
        save_checkpoint(weights, content | {"rows": rows})
        with pytest.raises(CheckpointError, match="damaged: its rows"):
            read_adapter(weights)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError):
        read_adapter(path)
    source = Checkpoint(tmp_path / "best.pt", {}, {}, model.state_dict())
    with pytest.raises(ConfigError, match="names no inserted rows"):
        write_adapter(path, model, source, [])


def test_what_is_frozen_does_not_move(tmp_path):
    model, new = network(tmp_path, 9, "ConvBlock(2)")  # which has a batch norm of its own
    frozen = freeze_all_but(model, new)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(new)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    model.train()
    for m in frozen:
        m.eval()
    assert model.model[-1].training  # or it would decode its maps
    norms = [m for m in model.model[10].modules() if isinstance(m, nn.BatchNorm2d | nn.Dropout)]
    assert norms
    assert all(m.training for m in norms)
    assert not any(m.training for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and ".10." not in n)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(m.square().mean() for m in model(torch.rand(2, 3, 64, 64))).backward()
    optimizer.step()
    moved = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved
    assert all(n.startswith("model.10.") for n in moved)
    with pytest.raises(ConfigError, match="train_only=new, and nothing is new"):
        freeze_all_but(model, [])
