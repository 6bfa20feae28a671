"""Shards of TFRecords from the saved geometry images of a run."""

from dataclasses import dataclass

from pipeline.scans import files
from pipeline.store import image_records, storage, tfrecord


@dataclass(frozen=True)
class Shard:
    """One file of OUT/records: the scans (scan_id, path of their images below OUT) it holds, in order."""

    path: str
    scans: tuple[tuple[str, str], ...]


def shards_of(lines: list[dict], out: str, scans_per_shard: int) -> list[Shard]:
    """The ok scans that have images, in the order of `lines`, a fixed number to a shard."""
    scans = [(line["scan_id"], line["files"]["geometry_images"]) for line in lines if "geometry_images" in line["files"]]
    groups = [tuple(scans[start : start + scans_per_shard]) for start in range(0, len(scans), scans_per_shard)]
    name = lambda index: f"geometry_images-{index:05d}-of-{len(groups):05d}.tfrecord"
    return [Shard(storage.join(out, "records", name(index)), group) for index, group in enumerate(groups)]


def write_shard(shard: Shard, out: str) -> int:
    """Encodes the scans' saved images as records; returns their number."""
    examples = (
        image_records.images_example(scan_id, files.load_images(storage.read_bytes(storage.join(out, *path.split("/")))))
        for scan_id, path in shard.scans
    )
    return tfrecord.write_tfrecord(shard.path, examples)
