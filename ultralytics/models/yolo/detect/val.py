"""Validation of a detector: its steps in the loop of `engine.validator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultralytics.cfg.keys import PREDICT_CONF, VAL_CONF
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.prepare import names as published_names
from ultralytics.engine.outputs import LABELS, label_stems
from ultralytics.engine.results import Results
from ultralytics.engine.step.loss import Criterion
from ultralytics.engine.validator import BaseValidator, Evaluator
from ultralytics.models.yolo.detect.evaluate import STATS, BoxEvaluator, Pair, SeenEvaluator, pair
from ultralytics.models.yolo.detect.postprocess import detections, prepared
from ultralytics.models.yolo.detect.tiled import Tiler
from ultralytics.models.yolo.weights import network
from ultralytics.nn.backend import Backend, frame_of
from ultralytics.utils.analysis import analyse, table_lines
from ultralytics.utils.batch_plots import DetectionBatch
from ultralytics.utils.boxes import xyxy2xywhn
from ultralytics.utils.coco import Seen, coco_figures, predictions, within
from ultralytics.utils.files import write_json
from ultralytics.utils.gallery import draw_analysis
from ultralytics.utils.log import LOGGER
from ultralytics.utils.metrics import CURVES_FILE, IOU_THRESHOLDS, ConfusionMatrix, DetMetrics, curve_numbers
from ultralytics.utils.plotting import optional, plot_images
from ultralytics.utils.stopwatch import Stopwatch, speed_line
from ultralytics.utils.text import counted
from ultralytics.utils.types import Batch

SHOWN_FIGURES = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR_100")  # of COCO's, in the log
DRAWN_BOXES = 30  # of an image


class DetectionValidator(BaseValidator):  # size: the steps of a loop, which other tasks and scripts replace one by one
    """Run a detector over a loader and compute its metrics: `DetectionValidator(args={"model": …, "data": …})()`.

    Args: as `BaseValidator`. Of `args` conf (0.001 when unset), iou, max_det, single_cls, agnostic_nms, classes, plots,
    font, save_txt, save_conf, half, verbose; coco, save_json, analyse, gallery.
    """

    metrics: DetMetrics
    measure: ClassVar[type[BoxEvaluator]] = BoxEvaluator
    kind: ClassVar[type[DetMetrics]] = DetMetrics
    joins: ClassVar[bool] = True  # what is found can be joined: boxes alone
    rotated: ClassVar[bool] = False  # boxes have an angle
    compared: ClassVar[str] = "bbox"  # what COCO's figures are of, besides boxes: segm or keypoints
    annotations: ClassVar[str] = "boxes"  # what a dataset's labels hold, see `data.scan.scan`
    load_network = staticmethod(network)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metrics = self.kind(save_dir=self.save_dir, names=self.names)
        self.iouv = torch.from_numpy(IOU_THRESHOLDS)
        self.niou = len(IOU_THRESHOLDS)
        self.jdict: list[dict[str, Any]] = []
        self.tiler: Tiler | None = None
        self._stems: dict[str, str] = {}  # image file → stem of its label file
        self.keeps_shapes = False  # masks or poses are kept for COCO's figures

    # Data

    def build_dataset(self, img_path: Any, mode: str = "val", batch: int | None = None) -> Any:
        """Return the dataset of a split's paths."""
        args = self.args
        assert self.data is not None
        rect = args.rect_val and (args.rect or args.is_default("rect"))
        tiled = args.tiles is not None and mode == "val" and not self.training
        rect = rect and self.frame is None and not tiled
        return build_yolo_dataset(
            args,
            img_path,
            int(batch or args.batch),
            self.data,
            mode=mode,
            rect=rect,
            stride=self.stride,
            cache_dir=self.save_dir,
            frame=self.frame,
            native=tiled,
            annotations=self.annotations,
        )

    def get_dataloader(self, dataset_path: Any, batch_size: int) -> Any:
        """Return the batches of a split's paths."""
        team = self.team
        with team.first():
            dataset = self.build_dataset(dataset_path, batch=batch_size)
        if getattr(dataset, "native", False):
            batch_size = 1  # of any sizes; `batch` is of tiles
        workers, share = team.workers(self.args.workers), team.share(whole=True)
        return build_dataloader(dataset, batch_size, workers, shuffle=False, share=share)

    # The steps of the loop

    def prepared(self, net: Backend) -> Backend:
        """Return a network as the keys of this run ask for it, see `postprocess.prepared`; a run that trains makes one
        pass."""
        return net if self.training else prepared(net, self.args, self.joins)

    def init_metrics(self, model: Any) -> None:
        """Begin with no image seen."""
        super().init_metrics(model)
        native = getattr(getattr(self.dataloader, "dataset", None), "native", False)
        self.tiler = (
            Tiler(model, self.args, frame_of(model, self.args), self.stride, self.postprocess) if native else None
        )

    def evaluate_batch(
        self,
        batch: Batch,
        net: Backend,
        watch: Mapping[str, Stopwatch],
        criterion: Criterion | None,
        autocast: torch.dtype | None,
    ) -> tuple[list[Tensor], torch.Size]:
        """Evaluate a batch; see `BaseValidator.evaluate_batch`. With `tiles`, images are as they are in their files,
        and there is no loss: it is of what the network sees at once."""
        if self.tiler is None:
            return super().evaluate_batch(batch, net, watch, criterion, autocast)
        assert self.current is not None
        images = batch["img"].permute(0, 2, 3, 1).numpy()
        with torch.autocast(net.device.type, dtype=autocast, enabled=autocast is not None):
            predictions = [self.tiler(image, watch, rgb=True) for image in images]
        self.update_metrics(predictions, batch)
        self.current.images += len(images)
        return predictions, batch["img"].shape

    def get_evaluators(self, model: Backend, plots: bool, final: bool) -> list[Evaluator[Any, Any]]:
        """Return what measures the boxes, and what COCO's figures and an analysis need."""
        args = self.args
        if args.save_txt:
            self._stems = label_stems(self.save_dir, self.dataloader.dataset.labels.im_files)
        conf = PREDICT_CONF if args.conf in (None, VAL_CONF) else args.conf
        confusion = ConfusionMatrix(nc=model.nc, conf=conf) if plots else None
        boxes = self.measure(self.names or model.names, model.nc, confusion, self.kind)
        self.keeps_shapes = final and (args.coco or args.save_json)
        return [boxes, SeenEvaluator()] if final and (args.coco or args.save_json or args.analyse) else [boxes]

    def get_desc(self) -> str:
        """Return the head of the table."""
        columns = [word for name in self.metrics.parts for word in (f"{name}(P", "R", "mAP50", "mAP50-95)")]
        return ("%22s" + "%11s" * (2 + len(columns))) % ("Class", "Images", "Instances", *columns)

    def postprocess(self, preds: Any) -> list[Tensor]:
        """Turn the model's output into (n, 6) detections of each image: corners in pixels, score, class; see
        `postprocess.detections` for those of other tasks."""
        several, extras = self.nc > 1, 0 if self.joins else None
        return detections(preds, self.args, self.nc, VAL_CONF, several, self.rotated, extras)

    def compare(self, preds: list[Any], batch: Batch) -> list[Pair]:
        """Put each image's detections beside its labels; with `save_txt`, write them."""
        together = torch.split(torch.cat(preds).cpu(), [len(found) for found in preds])  # one copy
        return [self.compare_one(found, batch, i) for i, found in enumerate(together)]

    def compare_one(self, found: Any, batch: Batch, i: int) -> Pair:
        """Put the detections of image `i` of a batch beside its labels, with what is measured besides boxes."""
        made = pair(found, batch, i, self.args.single_cls)
        if self.args.save_txt:
            self._save_txt(made)
        return made

    @property
    def stats(self) -> dict[str, list[npt.NDArray[Any]]] | None:
        """Arrays of what has been compared so far, one per batch: tp, conf, pred_cls, target_cls."""
        if self.current is None:
            return None
        batches = self.current.evaluators[0].stats.values()  # type: ignore[attr-defined]  # a BoxEvaluator
        return {k: [s[k] for s in batches] for k in STATS}

    @property
    def confusion_matrix(self) -> ConfusionMatrix | None:
        """Counts of detected and true classes, with `plots`."""
        if self.metrics.confusion_matrix or self.current is None:
            return self.metrics.confusion_matrix
        return self.current.evaluators[0].confusion  # type: ignore[attr-defined,no-any-return]  # a BoxEvaluator

    def seen_images(self) -> list[Seen]:
        """Return the detections and labels of all images, in the loader's order: of a last validation that `coco`,
        `save_json` or `analyse` wants them of, and on the leader alone. Detections of classes that the dataset does not
        have are left out."""
        evaluators = [] if self.current is None else self.current.evaluators
        images = [s for e in evaluators if isinstance(e, SeenEvaluator) for s in e.result()]
        return [within(s, self.metrics.names) for s in images]

    def sigmas(self) -> Sequence[float] | None:
        """Return the spreads of the keypoints, for COCO's figures; None of other tasks."""
        return None

    # Label files

    def _save_txt(self, image: Pair, **parts: Any) -> None:
        """Write the label file of an image; `parts`: of a Results, the boxes where there are none."""
        blank = np.broadcast_to(np.zeros(3, np.uint8), (*image.shape, 3))
        parts = parts or {"boxes": image.detected}
        file = self.save_dir / LABELS / f"{self._stems[image.file]}.txt"
        Results(blank, "", dict(self.names), **parts).save_txt(file, self.args.save_conf)

    # The report

    def summary_row(self) -> str:
        """Return the row of the table that is of all classes."""
        m = self.metrics
        return self._row("all", m.images, int(m.nt_per_class.sum()), m.mean_results())

    def _row(self, name: str, images: int, objects: int, figures: Sequence[float]) -> str:
        return ("%22s" + "%11i" * 2 + "%11.3g" * len(figures)) % (name[:22], images, objects, *figures)

    def print_results(self) -> None:
        """Print the table: all classes, then each class when there are several and `verbose`."""
        m = self.metrics
        LOGGER.info(self.get_desc())
        LOGGER.info(self.summary_row())
        if self.args.verbose and len(m.names) > 1:
            for i, c in enumerate(m.ap_class_index):
                row = self._row(m.names[int(c)], m.nt_per_image[c], m.nt_per_class[c], m.class_result(i))
                LOGGER.info("%s", row)
        if m.ignored:
            LOGGER.info("%s ignored: difficult objects and crowds count for nothing", counted(m.ignored, "region"))
        LOGGER.info("%s", speed_line(m.speed))

    def report_figures(self) -> None:
        """Report COCO's figures and the analysis."""
        self.report_coco()
        self.report_analysis()

    def report_coco(self) -> None:
        """Add COCO's figures to the log and to metrics.json, and write predictions.json, as `coco` and `save_json`
        ask."""
        seen, names = self.seen_images(), self.metrics.names
        if self.args.save_json:
            known = tuple(names.values()) == published_names.COCO
            ids = published_names.COCO_IDS if known else range(len(names))  # as `export-coco` has them
            write_json(self.save_dir / "predictions.json", predictions(seen, ids, self.compared))
        if not self.args.coco or not seen:
            return
        try:
            figures = coco_figures(seen, names)
            if self.compared != "bbox":
                figures[self.compared] = coco_figures(seen, names, self.compared, self.sigmas())
        except ImportError as e:
            LOGGER.warning("COCO's figures are left out: %s (pip install hotcoco, or coco=False)", e)
            return
        of_boxes = " of boxes" if self.compared in figures else ""
        for what, found in ((of_boxes, figures), (f" of {self.compared}", figures.get(self.compared))):
            if found is not None:
                words = [f"{k} {found[k]:.3f}" for k in SHOWN_FIGURES if found.get(k) is not None]
                LOGGER.info("COCO's figures%s: %s", what, ", ".join(words) or "there are no objects")
        self.metrics.coco = figures
        self.save_metrics()

    def report_analysis(self) -> None:
        """With `analyse`: add kinds of errors, figures by size and calibration to the log and to metrics.json, and draw
        them and the worst mistakes."""
        seen, names, font = self.seen_images(), self.metrics.names, self.args.font
        if not self.args.analyse or not seen:
            return
        try:
            self.metrics.analysis = figures = analyse(seen, names)
        except ImportError as e:
            LOGGER.warning("the analysis is left out: %s (pip install hotcoco, or analyse=False)", e)
            return
        self.save_metrics()
        for line in table_lines(figures):
            LOGGER.info("%s", line)
        draw_analysis(figures, seen, names, self.save_dir, self.args.gallery, font)

    def draw_results(self) -> None:
        """Draw curves and confusion matrices, and keep their numbers."""
        confusion, font = self.metrics.confusion_matrix, self.args.font
        if confusion is None:
            return
        path = self.save_dir / CURVES_FILE
        with optional(path):
            *others, kind = self.metrics.parts
            of = {"of": kind.lower()} if others else {}
            write_json(path, curve_numbers(self.metrics.main, self.metrics.names, confusion) | of)
        self.metrics.plot_curves(font)
        for normalize in (True, False):
            confusion.plot(normalize, self.save_dir, tuple(self.metrics.names.values()), font=font)

    def draw_batch(self, number: int, batch: Batch, preds: list[Tensor]) -> None:
        """Draw the labels of a batch's first images, and beside them their surest detections."""
        names, font = self.metrics.names, self.args.font
        path = self.save_dir / f"val_batch{number}_labels.jpg"
        with optional(path):
            plot_images(batch, path, names, font=font)
        path = self.save_dir / f"val_batch{number}_pred.jpg"
        with optional(path):
            plot_images(self.predicted(batch, preds), path, names, font=font)

    def predicted(self, batch: Batch, preds: list[Any]) -> Any:
        """Return the surest detections of a batch's images as what draws a batch takes them."""
        return self._predicted(batch, [d[:DRAWN_BOXES] for d in preds])

    def _predicted(self, batch: Batch, top: Sequence[Tensor]) -> DetectionBatch:
        height, width = batch["img"].shape[2:]
        return {
            "img": batch["img"],
            "im_file": batch["im_file"],
            "batch_idx": torch.cat([torch.full((len(d),), float(i)) for i, d in enumerate(top)]),
            "cls": torch.cat([d[:, 5] for d in top]),
            "conf": torch.cat([d[:, 4] for d in top]),
            "bboxes": xyxy2xywhn(torch.cat([d[:, :4] for d in top]), w=width, h=height),
        }
