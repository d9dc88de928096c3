"""Installs the three packages and the `awe` command; also what Beam's --setup_file takes to the workers."""

from setuptools import find_packages, setup

setup(
    name="affinity-weighted-embedding",
    version="0.1.0",
    description="Affinity Weighted Embedding (Weston, Weiss, Yee) as a distributed batch pipeline on Apache Beam",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["awe_core*", "schemas*", "pipelines*"]),
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "numpy>=2.0,<3",
        "scikit-learn>=1.8,<2",
        "scipy>=1.14,<2",
        "pyarrow>=18",
        "click>=8.1,<9",
        "joblib>=1.3,<2",
        "liac-arff>=2.5,<3",
        "pydantic>=2.7,<3",
        "safetensors>=0.4.5,<1",
        "threadpoolctl>=3.5,<4",
        "tomli-w>=1.0,<2",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "aws": ["boto3>=1.34,<2"],
        "gcp": ["apache-beam[gcp]>=2.77,<2.78"],
        "faiss": ["faiss-cpu>=1.8"],
        "fast": ["numba>=0.61"],
        "tune": ["optuna>=4.2,<6"],
        "test": [
            "boto3>=1.34,<2",
            "duckdb>=1.1",
            "hypothesis>=6.100,<7",
            "mypy>=1.13",
            "optuna>=4.2,<6",
            "pandas>=2.2",
            "psutil>=5.9",
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
        ],
    },
    entry_points={"console_scripts": ["awe = pipelines.__main__:main"]},
)
