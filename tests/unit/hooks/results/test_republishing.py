"""One publisher, readers of every style, no torn reading; `benchmarks.republished_month` is the long one."""

from __future__ import annotations

from tests.support.month_on_files import MonthOnFiles
from tests.support.published_months import republish

PUBLICATIONS = 25


def test_no_reader_meets_a_torn_month(tmp_path):
    month = MonthOnFiles(tmp_path)
    tallies = republish(month, PUBLICATIONS)
    consistent = {style.name for style in month.styles() if style.consistent}

    assert {name: tally.faults for name, tally in tallies.items() if tally.faults} == {}
    assert {name: tallies[name].mixed for name in consistent if tallies[name].mixed} == {}
    assert all(tally.readings > 1 for tally in tallies.values())
