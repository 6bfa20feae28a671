"""The description of a training set, made from its shards' own accounts: card.json and the contact sheet."""

import io
import itertools
import json
from collections import Counter
from collections.abc import Sequence

from pipeline.store import storage
from pipeline.training.shards import Shard

SHEET_ROWS = 16
PAIRS = "pairs of geometry images: coarse (the fitted model), scan (a simulated sensor), truth (the sampled face)"
VIEWS = (
    "views of simulated raw scans from all sides, each a geometry image, with the 68 landmarks of the face and which are visible"
)


def summarize(folder: str, shards: Sequence[Shard], plan: dict) -> dict:
    """The set's card, from its shards' own accounts: no clock in it, equal sets have equal cards."""
    pairs, dropped, sensors, residuals, attempted, left_out = Counter(), Counter(), Counter(), [], 0, {}
    for shard in shards:
        account = json.loads(storage.read_bytes(storage.join(folder, f"{shard.name}.json")))
        pairs[shard.name.rpartition("-")[0]] += account["pairs"]
        dropped.update(account["dropped"])
        sensors.update(account["sensors"])
        residuals += account["fit_residual_mm"]
        left_out |= account.get("left_out", {})
        attempted += len(shard.indices)
    quantile = lambda q: sorted(residuals)[int(q * (len(residuals) - 1))]
    return {
        "what": VIEWS if plan["views"] else PAIRS,
        **(_archive_card(plan["archive"], left_out) if "archive" in plan else {}),
        "format": "GZIP TFRecord of tf.train.Example, see docs/reference/training_data.md; splits hold different subjects",
        "plan": plan,
        "shards": len(shards),
        "attempted": attempted,
        "pairs": sum(pairs.values()),
        "pairs_by_split": dict(sorted(pairs.items())),
        "pairs_by_sensor": dict(sorted(sensors.items())),
        "dropped": dict(dropped.most_common()),
        "fit_residual_mm": {"median": quantile(0.5), "p90": quantile(0.9)} if residuals else {},
    }


def _archive_card(archive: dict, left_out: dict[str, str]) -> dict:
    shown = "a simulated sensor's view of it" if archive["options"]["scan_input"] == "simulated" else "the same scan"
    return {
        "what": f"pairs of geometry images: coarse (the fitted model), scan ({shown}), truth (a real scan, changed by the model "
        "in all views but the first)",
        "rights": "made from scans of the user's: their licences and the consent of the people scanned hold for this set too, "
        "and nobody has checked them",
        "scans_left_out": len(left_out),
        "left_out": dict(sorted(left_out.items())),
    }


def write_contact_sheet(folder: str, shards: Sequence[Shard], rows: int = SHEET_ROWS) -> None:
    """The first pairs of shards spread over the set."""
    from pipeline.pictures import contact_sheet
    from pipeline.store import tfrecord

    step = max(1, len(shards) // rows)
    per_shard = -(-rows // len(shards[::step])) if shards else 0
    files = [storage.join(folder, f"{shard.name}.tfrecord.gz") for shard in shards[::step]]
    examples = itertools.chain.from_iterable(itertools.islice(tfrecord.read_tfrecord(file), per_shard) for file in files)
    buffer = io.BytesIO()
    contact_sheet.sheet(map(tfrecord.decode_example, itertools.islice(examples, rows))).save(buffer, "PNG")
    storage.write_bytes(storage.join(folder, "contact_sheet.png"), buffer.getvalue())
