"""Packaging. `pip install .` carries the YAMLs of cfg/ and data/ too, so that the package works without the clone."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

# Every one of these passes the tests with its pins; a newer one may work. The first is the oldest that does.
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# What works; requirements.txt pins what is tested. scripts/check_env.py reads this list as well.
INSTALL_REQUIRES = [
    "torch>=2.6",
    "torchvision>=0.21",
    "numpy>=1.26",
    "opencv-python-headless>=4.10",
    "pillow>=10.1",
    "pyyaml>=6.0",
    "hotcoco>=1.3",
    "scipy>=1.11",
    "tqdm>=4.66",
    "matplotlib>=3.8",
    "einops>=0.8",
]
# What `export` and its files need besides. Older ones were not tried.
EXPORT = [
    "onnx>=1.23",
    "onnxscript>=0.7",
    "onnxslim>=0.1.98",
    "onnxruntime>=1.23",
    "openvino>=2026.4",
    "nncf>=3.4",
    "pnnx>=20261020",
    "ncnn>=1.0.20261020",
]
# Loggers, by their words for `log=`; `log` brings them all.
LOGGERS = {"tensorboard": ["tensorboard>=2.16"], "wandb": ["wandb>=0.17"], "mlflow": ["mlflow>=2.12"]}
BUNDLED = {
    **{name: f"cfg/{name}" for name in ("models", "recipes", "spaces", "studies", "trackers")},
    "data": "data",
}


class BuildWithYamls(build_py):
    """Copies the clone's YAMLs to ultralytics/bundled."""

    def run(self):
        super().run()
        for name, folder in BUNDLED.items():
            target = Path(self.build_lib) / "ultralytics" / "bundled" / name
            self.mkpath(str(target))
            files = sorted((ROOT / folder).glob("*.yaml"))
            if not files:
                raise SystemExit(f"error: there is no YAML in {ROOT / folder}; the package would lack its {name}")
            for file in files:
                self.copy_file(str(file), str(target / file.name))


setup(
    name="ultralytics-fla",
    version=re.search(r'__version__ = "(.+?)"', (ROOT / "ultralytics" / "__init__.py").read_text(encoding="utf-8"))[1],
    description="YOLOv8 detection with Focused Linear Attention",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="AGPL-3.0-or-later",
    python_requires=f">={PYTHONS[0]}",
    classifiers=[f"Programming Language :: Python :: {version}" for version in PYTHONS],
    packages=find_packages(include=["ultralytics", "ultralytics.*"]),
    package_data={"ultralytics": ["py.typed", "models/yolo/detect/page/*", "report/template/*"]},
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "export": EXPORT,
        **LOGGERS,
        "log": [package for packages in LOGGERS.values() for package in packages],
        "slurm": ["submitit>=1.5"],
        "screen": ["mss>=9.0"],
        "tables": ["pandas>=2.0", "lxml>=5.0"],
        "tune": ["optuna>=4.1"],
        "tensorrt": ["tensorrt>=10.12"],
        "coreml": ["coremltools>=9.0"],
        "executorch": ["executorch>=1.5"],
        "litert": ["litert-torch>=0.10"],
        "dev": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis>=6.100",
            "optuna>=4.1",
            "pycocotools",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["yolo = ultralytics.__main__:run"]},
    cmdclass={"build_py": BuildWithYamls},
)
