"""What a user can set; its names under the reference's import path."""

from ultralytics.cfg.config import get_cfg
from ultralytics.utils.lazy import later

__all__ = ["get_cfg"]

_OURS = """CFG_BOOL_KEYS CFG_FLOAT_KEYS CFG_FRACTION_KEYS CFG_INT_KEYS CLI_HELP_MSG DEFAULT_CFG DEFAULT_CFG_DICT
DEFAULT_CFG_PATH MODES SETTINGS TASK2DATA TASK2METRIC TASK2MODEL TASKS cfg2dict check_cfg check_dict_alignment
copy_default_cfg entrypoint get_save_dir handle_yolo_settings merge_equals_args parse_key_value_pair smart_value"""
_SHARED = """ARGV ASSETS IS_VSCODE IterableSimpleNamespace LOGGER RANK ROOT RUNS_DIR SETTINGS_FILE TESTS_RUNNING
__version__ colorstr deprecation_warn vscode_msg yaml_load yaml_print"""
__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.cfg.reference:{name}" for name in _OURS.split()},
        **{name: f"ultralytics.utils:{name}" for name in _SHARED.split()},
    },
    {
        "MODELS": "TASK2MODEL has the model of each task",
        "handle_explorer": "`show` draws images of a dataset, `check-data` examines it",
        "handle_streamlit_inference": "predict source=FOLDER writes annotated images",
        "handle_yolo_hub": "nothing is uploaded: runs lie in runs/detect",
    },
)
