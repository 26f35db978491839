"""`confidential-spark explain`: exit status, output, and what follows the job's name."""

from __future__ import annotations

import json

import pytest
from confidential_spark.cli import main as cli
from confidential_spark.cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--json", "nytaxi", "--month", "2018-05"], id="option-first"),
        pytest.param(["nytaxi", "--json", "--month", "2018-05"], id="option-behind-the-job"),
        pytest.param(["nytaxi", "--month", "2018-05", "--json"], id="option-last"),
    ],
)
def test_prints_the_request_wherever_its_option_stands(arguments, capsys):
    assert main(["explain", *arguments]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["job"] == "nytaxi"
    assert printed.err == ""


def test_prints_the_sql(capsys):
    assert main(["explain", "nytaxi", "--month", "2018-05", "--outlier-cap-cents", "7"]) == 0
    printed = capsys.readouterr().out
    assert "--   :outlier_cap_cents BIGINT 7\n" in printed
    assert "\n-- query groups, at most 100000 rows\nWITH read AS (\n" in printed


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        pytest.param(["nope"], ["job-unknown"], id="unknown-job"),
        pytest.param(["--month", "2018-05"], ["job-unknown"], id="no-job"),
        pytest.param(["nytaxi"], ["argument-invalid", "job-refused-arguments"], id="no-month"),
        pytest.param(
            ["nytaxi", "--month", "2018-05", "--js"],
            ["argument-invalid", "job-refused-arguments"],
            id="abbreviated",
        ),
    ],
)
def test_refusals_are_lines_with_their_names(arguments, codes, capsys):
    assert main(["explain", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line[1 : line.index("]")] for line in printed.err.splitlines()] == codes


def test_the_verifiers_wheel_does_without(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        main(["explain", "nytaxi", "--month", "2018-05"])
    assert caught.value.code == 2
    assert "invalid choice: 'explain'" in capsys.readouterr().err


def test_other_commands_take_nothing_more(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["verify", "evidence.json", "--policy", "policy.yaml", "--surprise"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --surprise" in capsys.readouterr().err
