"""Conversions of datasets under the reference's names; `data.prepare` has ours."""

from __future__ import annotations

from ultralytics.utils.lazy import later

_JOINED = "`prepare coco task=segment` joins the parts of an object"
__getattr__ = later(
    __name__,
    {},
    {
        "convert_coco": "`prepare coco source=FOLDER out=data/mine` converts COCO's JSON",
        "convert_dota_to_yolo_obb": "`prepare dota source=FOLDER out=data/mine` converts DOTA's labels",
        "convert_segment_masks_to_yolo_seg": "`prepare voc task=segment` and `prepare coco task=segment` outline masks",
        "merge_multi_segment": _JOINED,
        "min_index": _JOINED,
        "yolo_bbox2segment": "it needs SAM, which is not part of this project",
    },
)
_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)  # ids of COCO's paper that its datasets do not have


def coco80_to_coco91_class() -> list[int]:
    """Return COCO's category id of each of the 80 classes."""
    return [i for i in range(1, 92) if i not in _GAPS]


def coco91_to_coco80_class() -> list[int | None]:
    """Return the class of each of COCO's category ids, from 1; None of those that its datasets do not have."""
    known = coco80_to_coco91_class()
    return [known.index(i) if i in known else None for i in range(1, 92)]
