"""Package metadata and dependencies. Exact versions for development and CI are in requirements.txt."""

from setuptools import find_packages, setup

setup(
    name="vasg",
    version="0.1.0",
    description="Visually Aware Skip-Gram recommendations on Spark, Horovod and Petastorm",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["vasg", "vasg.*"]),
    package_data={"vasg.report": ["page.html"]},
    install_requires=[
        "pyspark>=3.5,<4.1",
        "petastorm==0.12.1",  # 0.13 pins setuptools below what torch needs
        "pyarrow>=14.0.1,<15",  # Petastorm needs the file system API that 15 removed; 14.0.1 closes CVE-2023-47248
        "numpy>=1.26,<2",
        "pandas>=2.1,<3",
        "torch>=2.1",  # a GPU machine brings its own build
        "horovod==0.28.1",  # built by scripts/setup.sh: the release does not compile against torch >= 2.1
        "numba>=0.60",
        "pillow>=10.3",
        "scikit-image>=0.22",
        "scikit-learn>=1.4",
        "scipy>=1.12",
        "pydantic>=2.7,<3",
        "tomli-w>=1.0",
        "threadpoolctl>=3.2",
        "matplotlib>=3.9",
        "jinja2>=3.1",
    ],
    extras_require={"pretrained": ["torchvision", "transformers>=4.40"]},
    entry_points={"console_scripts": ["vasg=vasg.cli:main"]},
)
