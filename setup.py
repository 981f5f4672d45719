"""Packaging of igan_tf. Why each dependency is here, and its bounds: BUILD_NOTES.md, "Dependencies"."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "igan_tf/__init__.py").read_text())[1]
TURING = ["starlette>=1.10,<2", "uvicorn>=0.54,<1", "jinja2>=3.1,<4", "matplotlib>=3.9,<4"]

setup(
    name="igan_tf",
    version=VERSION,
    description="Improved Techniques for Training GANs (Salimans et al., 2016) on TensorFlow 2 and Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The igan_tf authors",
    url="https://arxiv.org/abs/1606.03498",
    license="MIT",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    # The flag files lie at the repository's top, where people look for them, and in an installed package inside it.
    packages=[*find_packages(include=["igan_tf", "igan_tf.*"]), "igan_tf.run_configs"],
    package_dir={"igan_tf.run_configs": "run_configs"},
    package_data={
        "igan_tf": ["py.typed"],
        "igan_tf.pretrained": ["*/*", "*/checkpoints/*/*"],
        "igan_tf.run_configs": ["*.cfg"],
        "igan_tf.turing_test": ["schema.sql", "static/*", "templates/*"],
    },
    entry_points={"console_scripts": ["igan-tf = igan_tf.commands:main"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<3.16",
        "tensorboard>=2.20,<2.22",
        "tensorflow-datasets>=4.9.10,<4.10",
        "importlib_resources>=6,<8",
        "tensorflow-gan>=2.1,<2.2",
        "setuptools>=70.1,<81",
        "absl-py>=2.1,<3",
        "numpy>=2.0,<3",
        "scipy>=1.13,<2",
        "scikit-learn>=1.5,<2",
        "threadpoolctl>=3.5,<4",
        "pillow>=11,<14",
        "google-crc32c>=1.6,<2",
        "protobuf>=6.31.1,<8",
        "tqdm>=4.66,<5",
        "jsonschema>=4.23,<5",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "backends": ["jax>=0.6,<0.12"],
        "turing": TURING,
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.7,<10",
            "mkdocstrings>=1,<2",
            "mkdocstrings-python>=2,<3",
            "latex2mathml>=3.78,<4",
            "nbclient>=0.10.2,<1",
            "nbformat>=5.10,<6",
            "ipykernel>=6.29,<8",
            "matplotlib>=3.9,<4",
        ],
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.17,<0.18",
            "mypy>=2.4,<3",
            "matplotlib>=3.9,<4",
            "selenium>=4.30,<5",
            *TURING,
        ],
    },
)
