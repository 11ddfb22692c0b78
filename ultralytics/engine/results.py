"""Results of a prediction: boxes of one image, ready to draw, save or take apart."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ultralytics.engine.outputs import distinct, free_path
from ultralytics.engine.window import has_display, show_in_notebook
from ultralytics.utils.boxes import clip_boxes, xyxy2xywh
from ultralytics.utils.environment import is_jupyter
from ultralytics.utils.errors import UserError
from ultralytics.utils.helpers import SimpleClass
from ultralytics.utils.images import imwrite
from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER
from ultralytics.utils.plotting import Annotator, colors
from ultralytics.utils.text import safe_name
from ultralytics.utils.types import Float32Array, UInt8Array

_BOXES = "this project detects boxes: result.boxes"
__getattr__ = later(__name__, {}, dict.fromkeys(("Keypoints", "Masks", "OBB", "Probs"), _BOXES))
CROP_GAIN, CROP_PAD = 1.02, 10  # crops are a little larger than their box: factor, then pixels


class _Movable(SimpleClass):
    """Boxes, or what holds some: they may lie elsewhere or be of another type."""

    data: Any

    def _with(self: M, data: Any) -> M:
        """Return the same with other boxes."""
        raise NotImplementedError

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Return the same on another device or of another type."""
        return self._with(torch.as_tensor(self.data).to(*args, **kwargs))

    def cpu(self: M) -> M:
        """Return the same in main memory."""
        return self._with(self.data.cpu() if isinstance(self.data, Tensor) else self.data)

    def cuda(self: M) -> M:
        """Return the same on the GPU."""
        return self.to("cuda")

    def numpy(self: M) -> M:
        """Return the same as an array."""
        return self._with(self.data.cpu().numpy() if isinstance(self.data, Tensor) else self.data)


M = TypeVar("M", bound=_Movable)


class Boxes(_Movable):
    """Detected boxes of one image.

    Args:
        boxes: (n, 6) x1, y1, x2, y2 in pixels, score, class; or (n, 7), as a tracker has them, with an id before the
            score; a tensor or an array.
        orig_shape: (height, width) of the image.

    Attributes:
        is_track: True if they have ids.
    """

    def __init__(self, boxes: Any, orig_shape: tuple[int, int]) -> None:
        if boxes.ndim == 1:
            boxes = boxes[None, :]
        assert boxes.shape[-1] in (6, 7), f"boxes need 6 columns, or 7 with ids, not {boxes.shape[-1]}"
        self.data, self.orig_shape = boxes, orig_shape
        self.is_track = boxes.shape[-1] == 7

    def __len__(self) -> int:
        return len(self.data)

    def _with(self, data: Any) -> Boxes:
        return Boxes(data, self.orig_shape)

    def __getitem__(self, index: Any) -> Boxes:
        return self._with(self.data[index])

    @property
    def shape(self) -> Any:
        """Shape of the data."""
        return self.data.shape

    @property
    def xyxy(self) -> Any:
        """(n, 4) corners, pixels."""
        return self.data[:, :4]

    @property
    def conf(self) -> Any:
        """(n,) scores, 0..1."""
        return self.data[:, -2]

    @property
    def cls(self) -> Any:
        """(n,) class ids."""
        return self.data[:, -1]

    @property
    def id(self) -> Any:
        """(n,) ids of tracks; None without them."""
        return self.data[:, -3] if self.is_track else None

    @property
    def xywh(self) -> Any:
        """(n, 4) centre, width and height, pixels."""
        return xyxy2xywh(self.xyxy)

    @property
    def xyxyn(self) -> Any:
        """(n, 4) corners in 0..1."""
        return self.xyxy / self._size()

    @property
    def xywhn(self) -> Any:
        """(n, 4) centre, width and height in 0..1."""
        return self.xywh / self._size()

    def _size(self) -> Any:
        size = [*self.orig_shape[::-1]] * 2
        return self.data.new_tensor(size) if isinstance(self.data, Tensor) else np.array(size, self.data.dtype)


BaseTensor = Boxes  # of which the reference makes other kinds too


class Results(_Movable):
    """Detections in one image or frame.

    Args:
        orig_img: BGR uint8 (H, W, 3).
        path: of the image.
        names: class names by id.
        boxes: (n, 6), or (n, 7) with ids, see `Boxes`.
        speed: milliseconds of preprocess, inference, postprocess.
        masks, probs, keypoints, obb: None; of other tasks.

    Raises:
        UserError: something of another task.

    Attributes:
        masks, probs, keypoints, obb: of the reference's other tasks; None here.
        trails: of tracked objects, by id: (k, 2) the last centres of their boxes, pixels, oldest first.
    """

    masks: None = None
    probs: None = None
    keypoints: None = None
    obb: None = None

    def __init__(
        self,
        orig_img: UInt8Array,
        path: str,
        names: dict[int, str],
        boxes: Any = None,
        masks: None = None,
        probs: None = None,
        keypoints: None = None,
        obb: None = None,
        speed: dict[str, float | None] | None = None,
    ) -> None:
        _refuse(masks=masks, probs=probs, keypoints=keypoints, obb=obb)
        self.orig_img, self.path, self.names = orig_img, path, names
        self.orig_shape: tuple[int, int] = (int(orig_img.shape[0]), int(orig_img.shape[1]))
        self.boxes = Boxes(torch.zeros((0, 6)) if boxes is None else boxes, self.orig_shape)
        self.speed: dict[str, Any] = speed or {"preprocess": None, "inference": None, "postprocess": None}
        self.save_dir: str | None = None
        self.trails: dict[int, Float32Array] = {}

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> Results:
        return self._with(self.boxes[index].data)

    @property
    def data(self) -> Any:
        """The rows of the boxes."""
        return self.boxes.data

    def _with(self, data: Any) -> Results:
        other = Results(self.orig_img, self.path, self.names, data, speed=self.speed)
        other.save_dir, other.trails = self.save_dir, self.trails
        return other

    def new(self) -> Results:
        """Return the same image without boxes."""
        return self._with(None)

    def update(self, boxes: Any = None, masks: None = None, probs: None = None, obb: None = None) -> None:
        """Replace the boxes by (n, 6) others, or (n, 7) with ids, cut to the image.

        Raises:
            UserError: something of another task.
        """
        _refuse(masks=masks, probs=probs, obb=obb)
        if boxes is not None:
            corners = clip_boxes(boxes[:, :4], self.orig_shape)
            join = torch.cat if isinstance(boxes, Tensor) else np.concatenate
            self.boxes = Boxes(join([corners, boxes[:, 4:]], 1), self.orig_shape)

    def plot(
        self,
        conf: bool = True,
        line_width: float | None = None,
        font_size: float | None = None,
        font: str | None = None,
        pil: bool = False,
        img: UInt8Array | None = None,
        im_gpu: Tensor | None = None,
        kpt_radius: int = 5,
        kpt_line: bool = True,
        labels: bool = True,
        boxes: bool = True,
        masks: bool = True,
        probs: bool = True,
        show: bool = False,
        save: bool = False,
        filename: str | Path | None = None,
        color_mode: str = "class",
    ) -> UInt8Array:
        """Draw the boxes on the image; BGR uint8.

        Args:
            conf, labels: write scores, and names.
            boxes: draw at all.
            line_width, font_size: pixels, by the image's size when None.
            font: a font file, or the name of an installed one, to prefer.
            img: draw on this image instead.
            show, save: see `show`; also write it to `filename`, see `save`.
            color_mode: a colour per "class" or "instance": by the id of a track, else box by box.
            pil, im_gpu, kpt_radius, kpt_line, masks, probs: of the reference; boxes alone are drawn, and all alike.
        """
        drawn_on = self.orig_img if img is None else img
        example = "".join(self.names.values())
        annotator = Annotator(drawn_on, line_width, font_size, font, pil=True, example=example)
        if boxes:
            found = self.boxes.numpy()
            order = np.argsort(found.conf, kind="stable")  # the surest on top
            ids = [int(i) for i in found.id] if found.is_track else list(range(len(found)))
            for i in order:
                c = int(found.cls[i])
                color = colors(ids[i] if color_mode == "instance" else c, bgr=True)
                if found.is_track and ids[i] in self.trails:
                    annotator.trail(self.trails[ids[i]], color)
                words = [f"id:{ids[i]}"] if found.is_track else []
                words += [self.names.get(c, str(c))] + [f"{found.conf[i]:.2f}"] * conf
                annotator.box_label(found.xyxy[i], " ".join(words) if labels else "", color)
        drawn = annotator.result()
        if show:
            _show_drawn(drawn, self.path)
        if save:
            imwrite(_target_of(filename, self.path), drawn)
        return drawn

    def save(self, filename: str | Path | None = None, **kwargs: Any) -> str:
        """Write the drawn image, and return its path; keywords as of `plot`.

        Args:
            filename: replaced where it exists; without one results_NAME.jpg, numbered so that it is new.

        Raises:
            UserError: it is the file that was predicted on, or cannot be written.
        """
        target = _target_of(filename, self.path)
        self.plot(save=True, filename=target, **kwargs)
        return str(target)

    def verbose(self) -> str:
        """Return counts per class, such as "4 persons, 1 bus, "; "(no detections), " without any."""
        if not len(self):
            return "(no detections), "
        counts = Counter(int(c) for c in self.boxes.cls.tolist())
        return "".join(f"{n} {_plural(self.names.get(c, str(c)), n)}, " for c, n in sorted(counts.items()))

    def save_txt(self, txt_file: str | Path, save_conf: bool = False) -> str:
        """Write a line `class x y w h [score] [id]` per box, centre and size in 0..1;
        the file is replaced, so running twice changes nothing.

        Raises:
            UserError: it is the file that was predicted on.
        """
        boxes = self.boxes.cpu()
        path = _not_source(txt_file, self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            label_rows(boxes.cls, boxes.xywhn, boxes.conf if save_conf else None, boxes.id), encoding="utf-8"
        )
        return str(path)

    def save_crop(self, save_dir: str | Path, file_name: str | Path = "im.jpg") -> None:
        """Write every box as a image, SAVE_DIR/CLASS/NAME.jpg, numbered so that it is new."""
        stem = Path(file_name).name.removesuffix(".jpg")
        for folder, image in self.crops():
            imwrite(free_path(Path(save_dir) / folder / f"{stem}.jpg"), image)

    def crops(self) -> Iterator[tuple[str, UInt8Array]]:
        """Yield every box as a folder name, its class, and its part of the image, BGR uint8, a little enlarged."""
        h, w = self.orig_shape
        folders = _class_folders(tuple(self.names.items()))
        boxes = self.boxes.cpu()
        for (cx, cy, bw, bh), cls in zip(boxes.xywh.tolist(), boxes.cls.tolist(), strict=True):
            half_w, half_h = (bw * CROP_GAIN + CROP_PAD) / 2, (bh * CROP_GAIN + CROP_PAD) / 2
            x1, y1 = max(int(cx - half_w), 0), max(int(cy - half_h), 0)
            x2, y2 = min(int(cx + half_w) + 1, w), min(int(cy + half_h) + 1, h)
            yield folders.get(int(cls), str(int(cls))), self.orig_img[y1:y2, x1:x2]

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """Plain data: name, class, confidence, box and, of a track, track_id of each detection; the box in 0..1 with
        `normalize`."""
        boxes = self.boxes.cpu()
        corners = (boxes.xyxyn if normalize else boxes.xyxy).tolist()
        tracks = [{"track_id": int(i)} for i in boxes.id] if boxes.is_track else [{}] * len(boxes)
        return [
            {
                "name": self.names.get(int(c), str(int(c))),
                "class": int(c),
                "confidence": round(score, decimals),
                "box": dict(zip(("x1", "y1", "x2", "y2"), (round(v, decimals) for v in box), strict=True)),
                **track,
            }
            for box, score, c, track in zip(corners, boxes.conf.tolist(), boxes.cls.tolist(), tracks, strict=True)
        ]

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """Return `summary` as JSON."""
        return json.dumps(self.summary(normalize, decimals), indent=2, ensure_ascii=False)

    tojson = to_json  # the reference has both names

    def to_df(self, normalize: bool = False, decimals: int = 5) -> Any:
        """Return `summary` as a pandas DataFrame.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas  # optional: of this method alone
        except ImportError:
            raise UserError(
                "to_df needs pandas", hint="pip install pandas; summary() and to_csv() do without"
            ) from None
        return pandas.DataFrame(self.summary(normalize, decimals))

    def to_csv(self, normalize: bool = False, decimals: int = 5, *args: Any, **kwargs: Any) -> Any:
        """Return `summary` as CSV with numbered rows. Further arguments, such as a path, are those of pandas'
        DataFrame.to_csv."""
        if args or kwargs:
            return self.to_df(normalize, decimals).to_csv(*args, **kwargs)
        rows = self.summary(normalize, decimals)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["", *(rows[0] if rows else ())])
        for i, row in enumerate(rows):
            table.writerow([i, *row.values()])
        return text.getvalue()

    def to_xml(self, normalize: bool = False, decimals: int = 5, *args: Any, **kwargs: Any) -> Any:
        """Return `summary` as XML, a `row` per detection. Further arguments are those of pandas' DataFrame.to_xml."""
        if args or kwargs:
            return self.to_df(normalize, decimals).to_xml(*args, **kwargs)
        rows = self.summary(normalize, decimals)
        data = ElementTree.Element("data" if rows else "root")
        for i, row in enumerate(rows):
            element = ElementTree.SubElement(data, "row")
            for key, value in {"index": i, **row}.items():
                ElementTree.SubElement(element, key).text = str(value)
        ElementTree.indent(data)
        body = ElementTree.tostring(data, encoding="unicode", short_empty_elements=False)
        return f'<?xml version="1.0" encoding="utf-8"?>\n{body}'

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Show the drawn image in a notebook, or in the system's viewer; where there is neither, a line says so.
        Arguments are those of `plot`."""
        self.plot(*args, **{**kwargs, "show": True})


def _target_of(filename: str | Path | None, source: str) -> Path:
    """Return where to write an image: without a name, beside nothing that is there."""
    if not filename:
        return free_path(Path(f"results_{Path(source).stem or 'image'}.jpg"))
    return _not_source(filename, source)


def _not_source(filename: str | Path, source: str) -> Path:
    """Return a name to write to.

    Raises:
        UserError: it is the file that was predicted on, by whatever link.
    """
    target = Path(filename)
    if target.exists() and os.path.exists(source) and target.samefile(source):
        raise UserError("this is the image that was predicted on", str(filename), "give another name to save as")
    return target


def label_rows(classes: Any, boxes: Any, scores: Any = None, ids: Any = None) -> str:
    """Return a line `class x y w h [score] [id]` per box.

    Args:
        classes: (n,) ids; a tensor or an array, as the others.
        boxes: (n, 4) centre, width and height in 0..1.
        scores: (n,).
        ids: (n,) of tracks.
    """
    ends = [[f"{s:g}"] for s in scores.tolist()] if scores is not None else [[] for _ in range(len(classes))]
    for end, i in zip(ends, ids.tolist() if ids is not None else (), strict=ids is not None):
        end.append(str(int(i)))
    rows = zip(classes.tolist(), boxes.tolist(), ends, strict=True)
    return "".join(" ".join([*(f"{v:g}" for v in (int(c), *box)), *end]) + "\n" for c, box, end in rows)


def _show_drawn(image: UInt8Array, path: str) -> None:
    """Show an image (BGR), see `Results.show`."""
    if is_jupyter():
        show_in_notebook(image)
    elif not has_display():
        LOGGER.warning("%s: it cannot be shown: there is no display (save(filename), and look at it)", path)
    else:
        Image.fromarray(np.ascontiguousarray(image[..., ::-1])).show(Path(path).name)


def _refuse(**others: Any) -> None:
    """Refuse what belongs to other tasks.

    Raises:
        UserError: naming the first.
    """
    for name, value in others.items():
        if value is not None:
            raise UserError(f"{name} belong to another task, and this project detects boxes", hint="give boxes")


@functools.lru_cache(8)
def _class_folders(names: tuple[tuple[int, str], ...]) -> dict[int, str]:
    """A folder name for each class; classes whose names become the same one are numbered."""
    return dict(zip((i for i, _ in names), distinct(safe_name(name) for _, name in names), strict=True))


def _plural(name: str, n: int) -> str:
    """A class name for a count: "persons", but "bus" and "细胞" as they are."""
    takes_s = n > 1 and name[-1:].isascii() and name[-1:].isalpha() and not name.endswith("s")
    return f"{name}s" if takes_s else name
