"""A script as written for ultralytics 8.2.103: MODEL.yaml DATA.yaml FOLDER. It names nothing of this project's own."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer, DetectionValidator
from ultralytics.nn.tasks import DetectionModel, attempt_load_weights

model_yaml, data_yaml, folder = sys.argv[1:4]
out = Path(folder)
report = {}

# Train, with callbacks

history = []


def on_train_epoch_end(trainer):
    items = trainer.label_loss_items(trainer.tloss, prefix="train")
    history.append({"epoch": trainer.epoch, "batch_size": trainer.batch_size, **items, **trainer.lr})


def on_fit_epoch_end(trainer):
    history[-1].update(trainer.metrics)
    history[-1]["fitness"] = float(trainer.fitness)
    if trainer.epoch == 1:
        trainer.stop = True


def on_val_end(validator):
    report["validated"] = report.get("validated", 0) + 1
    assert validator.metrics.box.map50 >= 0
    assert validator.dataloader is not None


def on_train_end(trainer):
    report["best"] = str(trainer.best)
    report["validator"] = type(trainer.validator).__name__


model = YOLO(model_yaml)
for function in (on_train_epoch_end, on_fit_epoch_end, on_val_end, on_train_end):
    model.add_callback(function.__name__, function)
keys = {"data": data_yaml, "imgsz": 64, "batch": 6, "workers": 0, "device": "cpu", "plots": False, "project": folder}
model.train(epochs=3, name="a", optimizer="SGD", lr0=0.01, **keys)
report["epochs"] = len(history)
report["columns"] = sorted(history[0])


# A trainer of one's own


class CustomTrainer(DetectionTrainer):
    def get_model(self, cfg=None, weights=None, verbose=True):
        model = DetectionModel(cfg, nc=self.data["nc"], verbose=verbose)
        if weights:
            model.load(weights)
        return model

    def preprocess_batch(self, batch):
        batch = super().preprocess_batch(batch)
        report["shape"] = list(batch["img"].shape[1:])
        return batch

    def optimizer_step(self):
        report["steps"] = report.get("steps", 0) + 1
        super().optimizer_step()


best = Path(report["best"])
model = YOLO(best)
model.train(trainer=CustomTrainer, epochs=1, name="b", **keys)
trainer = DetectionTrainer(overrides={"model": str(best), "epochs": 1, "name": "c", **keys})
trainer.add_callback("on_train_start", lambda trainer: report.update(images=len(trainer.train_loader.dataset)))
trainer.train()

# Grad-CAM

net = attempt_load_weights(str(best), device=torch.device("cpu"))
report["names"] = list(net.names.values())
for p in net.parameters():
    p.requires_grad_(True)
maps, gradients = [], []
target = net.model[-2]
target.register_forward_hook(lambda module, x, y: maps.append(y))
target.register_forward_hook(lambda module, x, y: y.register_hook(gradients.append) and None)
image = torch.rand(1, 3, 64, 64)
prediction = net(image)[0]
boxes, scores = prediction[:, :4], prediction[:, 4:]
order = scores[0].max(0)[0].sort(descending=True)[1]
scores[0].t()[order][:5].max().backward()
weights = gradients[0].mean((2, 3), keepdim=True)
cam = torch.relu((weights * maps[0]).sum(1))
report["cam"] = list(cam.shape)
report["boxes"] = list(boxes.shape)

# Validate and predict

model = YOLO(best)
metrics = model.val(data=data_yaml, imgsz=64, batch=2, workers=0, plots=False, project=folder, name="v")
report["metrics"] = sorted(metrics.results_dict)
validator = DetectionValidator(
    args={"model": str(best), "data": data_yaml, "imgsz": 64, "plots": False, "project": folder}
)
report["alone"] = sorted(validator(model=str(best)))
rng = np.random.default_rng(0)
array = rng.integers(0, 255, (48, 64, 3), np.uint8)
file = str(out / "image.png")
cv2.imwrite(file, array)
video = str(out / "video.avi")
writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
for _ in range(3):
    writer.write(array)
writer.release()
same = {"imgsz": 64, "conf": 0.0001, "verbose": False, "project": folder}
for name, source in {
    "pil": Image.fromarray(array[..., ::-1]),
    "numpy": array,
    "path": file,
    "list": [file, array],
    "video": video,
}.items():
    results = list(model.predict(source, stream=name == "video", **same))
    report[name] = len(results)
    for result in results:
        assert result.orig_shape == (48, 64)
        assert result.boxes.xywhn.shape == (len(result), 4)
        assert result.boxes.cls.shape == result.boxes.conf.shape
        drawn = result.plot()
        assert drawn.shape == (48, 64, 3)
        assert np.asarray(result.plot(pil=True)).shape == (48, 64, 3)
        frame = result.to_df()
        assert len(frame) == len(result)
        assert len(json.loads(result.tojson())) == len(result)
        assert sum(1 for _ in result) == len(result)
predictor = DetectionPredictor(overrides={"imgsz": [64, 64], "conf": 0.0001, "save": False})
report["predictor"] = len(predictor(source=file, model=str(best)))

(out / "report.json").write_text(json.dumps(report), encoding="utf-8")
