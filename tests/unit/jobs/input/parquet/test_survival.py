"""Metadata that crashes PyArrow is reported by file name, and the reading process survives."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.input.parquet.survival import require_survivable

READ_METADATA = """
import sys
import pyarrow.parquet as pq
try:
    metadata = pq.read_metadata(sys.argv[1])
    for column in range(metadata.num_columns):
        metadata.row_group(0).column(column).statistics
except Exception:
    pass
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "sound.parquet"
    pq.write_table(pa.table({name: pa.array(range(50)) for name in "abcdefgh"}), path)
    return path


@pytest.fixture(scope="module")
def crashing(sound):
    """Return a file with three changed bytes in its footer on which PyArrow aborts."""
    content = sound.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little")
    garble = random.Random(1)  # noqa: S311 - no secret
    garbled = []
    for number in range(3_000):
        changed = bytearray(content)
        for _ in range(3):
            changed[garble.randrange(len(content) - 8 - footer, len(content) - 8)] = garble.randrange(256)
        garbled.append(sound.with_name(f"garbled-{number}.parquet"))
        garbled[-1].write_bytes(changed)
    with pytest.raises(InputError) as refused:
        require_survivable(garbled)
    return sound.with_name(refused.value.got.partition(":")[0])


def test_pyarrow_aborts_on_it(crashing):
    read = subprocess.run([sys.executable, "-c", READ_METADATA, crashing], capture_output=True, check=False)
    assert read.returncode == -signal.SIGABRT, "if PyArrow survives it now, this module can go"


def test_the_crashing_file_is_named(sound, crashing):
    with pytest.raises(InputError, match=r"input-unreadable.*garbled-.*signal 6"):
        require_survivable([sound, crashing, sound])


def test_sound_files_and_what_python_can_catch_are_left_to_the_reader(sound, tmp_path):
    (tmp_path / "garbage.parquet").write_bytes(os.urandom(100))
    require_survivable([sound, tmp_path / "garbage.parquet", tmp_path / "absent.parquet"])
    require_survivable([])
