"""The folders beside this file are the subpackages of one import package."""

from setuptools import find_packages, setup

NAME = "plausibody"
FOLDERS = ["models", "synth", "predict", "evaluate", "assets"]

inner = find_packages(include=FOLDERS + [f"{folder}.*" for folder in FOLDERS])
setup(
    packages=find_packages(include=[NAME, f"{NAME}.*"])
    + [f"{NAME}.{package}" for package in inner],
    package_dir={f"{NAME}.{folder}": folder for folder in FOLDERS},
)
