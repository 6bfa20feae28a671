"""What a run says on the terminal when it ends."""

import pytest

from pipeline.execution.progress import summary

LINE = {
    "scan_id": "a",
    "source": "a.zip",
    "status": "failed",
    "stage": "read",
    "reason": "a.zip: cannot be opened",
    "seconds": {},
}


@pytest.mark.parametrize("seconds", [{}, {"read": 0.0}, {"read": 0.0, "locate": 0.0}])
def test_a_run_that_took_no_time_has_a_summary(seconds):
    """A damaged archive is refused at once, which ended the run in a division by zero."""
    text = summary([LINE | {"seconds": seconds}], "out", 0.0)
    assert "1 failed" in text and "cannot be opened" in text and "of work" not in text


def test_times_are_shares_of_the_work():
    text = summary([LINE | {"seconds": {"read": 1.0, "fit": 3.0}}], "out", 9.0)
    assert "4.00 s of work a scan; slowest stages: fit 75%, read 25%" in text


def test_a_reason_is_told_to_its_end_where_the_remedy_stands():
    remedy = "write scan.json beside it with the camera of your sensor, for example " + '{"fx": 1, ' * 20 + "}"
    text = summary([LINE | {"reason": f"a.zip: has no camera; {remedy}"}], "out", 1.0)
    assert remedy in text
    assert summary([LINE | {"reason": "x" * 3000}], "out", 1.0).endswith("…")
