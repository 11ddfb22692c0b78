"""The reference's names for the largest batch that fits."""

from ultralytics.utils.lazy import later

_TRAIN = "train batch=-1 finds the largest batch that fits, batch=0.8 one for that part of the memory"
__getattr__ = later(
    __name__,
    {"DEFAULT_CFG": "ultralytics.cfg.reference:DEFAULT_CFG", "LOGGER": "ultralytics.utils.log:LOGGER"},
    dict.fromkeys(("autobatch", "check_train_batch_size"), _TRAIN),
)
