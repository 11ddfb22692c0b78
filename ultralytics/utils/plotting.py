"""The reference's names for what draws: `colors`, `annotate`, `batch_plots` and `charts` hold it."""

from ultralytics.utils.annotate import Annotator, feature_visualization, output_to_target, save_one_box
from ultralytics.utils.batch_plots import plot_images
from ultralytics.utils.charts import (
    optional,
    plot_blocks,
    plot_confusion_matrix,
    plot_labels,
    plot_mc_curve,
    plot_pr_curve,
    plot_results,
)
from ultralytics.utils.colors import Colors, colors
from ultralytics.utils.lazy import later

__all__ = [
    "Annotator", "Colors", "colors", "feature_visualization", "optional", "output_to_target", "plot_blocks",
    "plot_confusion_matrix", "plot_images", "plot_labels", "plot_mc_curve", "plot_pr_curve", "plot_results",
    "save_one_box",
]  # fmt: skip
__getattr__ = later(
    __name__,
    {"pil_version": "PIL:__version__"},
    {
        "output_to_rotated_target": "a validation plots rotated boxes itself; output_to_target takes upright ones",
        "plot_tune_results": "`tune report FOLDER` draws a tune's figures",
        "plt_color_scatter": "matplotlib's scatter(x, y, c=density) draws it",
    },
)
