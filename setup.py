"""Packaging. The ranges are a set that installs together on Python 3.11 and was run together (see docs)."""

from glob import glob

from setuptools import find_packages, setup

OPEN3D = "0.19.0"  # 0.20 needs more system libraries (libusb, libEGL, libidn2)

setup(
    name="face-relief",
    version="0.3.0",
    description="Archives of raw 3D face scans in; clean, registered, detailed face geometry out.",
    python_requires=">=3.11",
    packages=find_packages(include=["geometry", "geometry.*", "gan", "gan.*", "pipeline", "pipeline.*"]),
    package_data={"geometry": ["data/*", "data/schemes/*.json"], "gan": ["weights/*"], "pipeline": ["templates/*"]},
    data_files=[("share/face-relief/configs", sorted(glob("configs/*.yaml")))],
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "google-crc32c>=1.5,<2",  # Beam's TFRecords fail misleadingly without it
        "h5py>=3.11,<4",
        "jinja2>=3.1,<4",
        "keras>=3.15,<3.16",
        "numpy>=2.1,<2.5",
        # the same module from two distributions: the slim one exists for 64-bit Intel Linux only
        f"open3d-cpu=={OPEN3D}; sys_platform == 'linux' and platform_machine == 'x86_64'",
        f"open3d=={OPEN3D}; sys_platform != 'linux' or platform_machine != 'x86_64'",
        "pillow>=10.3,<13",
        "protobuf>=6.31,<7",
        "PyYAML>=6,<7",
        "scipy>=1.15,<1.18",
        "tensorflow>=2.21,<2.22",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "test": ["hypothesis>=6.100,<7", "pytest>=8,<10", "tfrecord>=1.14,<2", "trimesh>=4.4,<6"],
    },
    entry_points={"console_scripts": ["face-relief=pipeline.cli:main"]},
)
