"""An engine's stream of messages becomes whole lines, progress and an outcome, whatever it contains."""

from __future__ import annotations

from confidential_spark.platforms.docker.images import MAX_LINE, EngineMessages
from hypothesis import given
from hypothesis import strategies as st

ID = "sha256:" + "ab" * 32
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
messages = st.dictionaries(
    st.sampled_from(["stream", "status", "id", "aux", "error", "progress"]), json_values, max_size=4
)


def lines_of(reader: EngineMessages, *stream) -> list[str]:
    return [line for message in stream for line in reader.read(message)] + list(reader.rest())


def test_a_build_is_read_to_its_image() -> None:
    reader = EngineMessages()
    said = lines_of(
        reader,
        {"stream": "Step 1/2 : FROM base"},
        {"stream": "\n"},
        {"stream": " ---> 123\nStep 2/2 : RUN x\n"},
        {"aux": {"ID": ID}},
        {"stream": "Successfully built"},
    )
    assert said == ["Step 1/2 : FROM base", " ---> 123", "Step 2/2 : RUN x", "Successfully built"]
    assert (reader.image_id, reader.step, reader.error) == (ID, (2, 2), None)


def test_an_error_is_kept() -> None:
    reader = EngineMessages()
    assert lines_of(reader, {"errorDetail": {"message": "no"}, "error": "no space left on device"}) == []
    assert reader.error == "no space left on device"


def test_a_layer_is_reported_when_its_state_changes() -> None:
    reader = EngineMessages()
    progress = [{"id": "a1", "status": "Downloading", "progress": f"{n}/9"} for n in range(9)]
    assert lines_of(reader, *progress, {"id": "a1", "status": "Pull complete"}, {"status": "Done"}) == [
        "a1 Downloading",
        "a1 Pull complete",
        "Done",
    ]


def test_a_push_is_read_to_its_digest() -> None:
    reader = EngineMessages()
    lines_of(reader, {"status": "latest: digest: …"}, {"aux": {"Tag": "latest", "Digest": ID, "Size": 1}})
    assert reader.digest == ID


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    reader = EngineMessages()
    assert max(map(len, lines_of(reader, *[{"stream": "x" * 10_000}] * 20))) <= MAX_LINE


@given(st.lists(messages | json_values, max_size=10))
def test_any_stream_is_read(stream) -> None:
    reader = EngineMessages()
    assert all(isinstance(line, str) and len(line) <= MAX_LINE for line in lines_of(reader, *stream))
    assert reader.image_id is None or reader.image_id.startswith("sha256:")


@given(st.text(alphabet="ab\n", max_size=200), st.integers(1, 7))
def test_the_cuts_of_a_stream_do_not_matter(text: str, size: int) -> None:
    pieces = [{"stream": text[start : start + size]} for start in range(0, len(text), size)]
    assert lines_of(EngineMessages(), *pieces) == [line for line in text.split("\n") if line.strip()]
