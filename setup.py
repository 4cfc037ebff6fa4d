"""What pyproject.toml cannot say: configs/ and docs/example/ are data inside the package launch."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["launch*", "trainers*", "analysis*"]),
        "launch.configs",
        "launch.example",
    ],
    package_dir={"launch.configs": "configs", "launch.example": "docs/example"},
    package_data={
        "launch.configs": ["**/*.yaml"],
        "launch.example": ["**/*", ".gitignore"],
        "launch": ["**/*.html", "**/*.css", "**/*.js"],
        "analysis": ["**/*.html"],
    },
    exclude_package_data={"launch.example": ["**/__pycache__/*"]},
)
