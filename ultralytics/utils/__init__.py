"""Helpers under the reference's import paths.

Names of a later room (the configuration) and those that take a moment are resolved when they are asked for.
"""

from ultralytics.utils.lazy import later
from ultralytics.utils.log import LOGGER

__all__ = ["LOGGER"]

_ENVIRONMENT = """ARGV ARM64 ASSETS AUTOINSTALL DATASETS_DIR ENVIRONMENT FILE GIT_DIR HELP_MSG IS_COLAB
IS_DOCKER IS_GIT_DIR IS_JETSON IS_JUPYTER IS_KAGGLE IS_PIP_PACKAGE IS_RASPBERRYPI IS_VSCODE
LINUX LOCAL_RANK LOGGING_NAME MACOS NUM_THREADS
ONLINE PROC_DEVICE_MODEL PYTHON_VERSION RANK ROOT RUNS_DIR SETTINGS_FILE TESTS_RUNNING TORCHVISION_VERSION
TORCH_VERSION TQDM_BAR_FORMAT USER_CONFIG_DIR VERBOSE WEIGHTS_DIR WINDOWS get_git_branch get_git_dir get_git_origin_url
get_ubuntu_version get_user_config_dir is_colab is_dir_writeable is_docker is_git_dir is_github_action_running is_jetson
is_jupyter is_kaggle is_online is_pip_package is_pytest_running is_raspberrypi is_ubuntu read_device_model"""
_HELPERS = """IterableSimpleNamespace PREFIX Retry SimpleClass TQDM ThreadingLocked TryExcept clean_url colorstr
deprecation_warn emojis get_default_args plt_settings remove_colorstr set_logging threaded url2file yaml_load yaml_print
yaml_save"""
_SETTINGS = "DEFAULT_CFG DEFAULT_CFG_DICT DEFAULT_CFG_KEYS DEFAULT_CFG_PATH SETTINGS"
_NO_FILE = "nothing is kept in the home folder: give keys as arguments or in a YAML, cfg="
__getattr__ = later(
    __name__,
    {
        **{name: f"ultralytics.utils.environment:{name}" for name in _ENVIRONMENT.split()},
        **{name: f"ultralytics.utils.helpers:{name}" for name in _HELPERS.split()},
        **{name: f"ultralytics.cfg.reference:{name}" for name in _SETTINGS.split()},
        "SettingsManager": "ultralytics.cfg.reference:Settings",
        **{name: f"ultralytics.utils.patches:{name}" for name in ("imread", "imshow", "imwrite")},
        **{name: f"ultralytics.utils.patches:{name}" for name in ("torch_load", "torch_save")},
        "__version__": "ultralytics:__version__",
    },
    {
        "JSONDict": _NO_FILE,
        "PERSISTENT_CACHE": _NO_FILE,
        "set_sentry": "nothing is reported anywhere",
        "vscode_msg": "no editor is advertised",
    },
)
