"""`OcclumQuote` against a C library with the ABI of Occlum's, compiled here; no SGX hardware is involved."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from confidential_spark.agent.attestation.measurement import Measurement
from confidential_spark.agent.attestation.quote import (
    OcclumQuote,
    QuoteProvider,
    software_quote,
    without_padding,
)
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.protocol import TRUST_HARDWARE

REPORT_DATA = bytes(range(64))
REPORT_DATA_OFFSET = 48 + 320
SIGNATURE_BYTES = 100
LIBRARY = r"""
#include <stdint.h>
#include <string.h>

static int device, open_handles;

void *dcap_quote_open(void) { if (!OPENS) return 0; open_handles++; return &device; }
uint32_t dcap_get_quote_size(void *handle) { return handle == &device ? SIZE : 0; }
int32_t dcap_generate_quote(void *handle, uint8_t *quote, const uint8_t *report_data) {
    if (handle != &device || STATUS) return STATUS;
    memset(quote, 0, SIZE);
    memcpy(quote + 48 + 320, report_data, 64);
    uint32_t length = 100;
    memcpy(quote + 432, &length, 4);
    memset(quote + 436, 0xAB, length);
    return 0;
}
void dcap_quote_close(void *handle) { if (handle == &device) open_handles--; }
int open_handle_count(void) { return open_handles; }
"""


@pytest.fixture
def library(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc) to build the stand-in for libocclum_dcap.so with")

    def build(*, opens=1, size=432 + 4 + SIGNATURE_BYTES, status=0, source=LIBRARY):
        (tmp_path / "dcap.c").write_text(source)
        defines = [f"-DOPENS={opens}", f"-DSIZE={size}u", f"-DSTATUS={status}"]
        path = tmp_path / "libocclum_dcap.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", *defines, "-o", str(path), str(tmp_path / "dcap.c")], check=True
        )
        return str(path)

    return build


def test_passes_report_data_and_returns_the_quote(library):
    provider: QuoteProvider = OcclumQuote(library())
    quote = provider.quote(REPORT_DATA)
    assert quote[REPORT_DATA_OFFSET : REPORT_DATA_OFFSET + 64] == REPORT_DATA
    assert quote[436:] == b"\xab" * SIGNATURE_BYTES
    assert provider.trust == TRUST_HARDWARE


def test_padding_behind_the_quote_is_cut_off(library):
    assert len(OcclumQuote(library(size=4600)).quote(REPORT_DATA)) == 432 + 4 + SIGNATURE_BYTES


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param({"opens": 0}, "device cannot be opened", id="no-device"),
        pytest.param({"size": 0}, "size of a quote is not known", id="no-size"),
        pytest.param({"size": 0xFFFFFFFF}, "size of a quote is not known", id="absurd-size"),
        pytest.param({"status": -1}, "status 0xffffffff", id="refused"),
        pytest.param({"size": 500}, "length is wrong", id="signature-beyond-buffer"),
    ],
)
def test_faults_are_named(library, fault, message):
    source = LIBRARY if fault != {"size": 500} else LIBRARY.replace("memset(quote + 436, 0xAB, length);", "")
    with pytest.raises(AgentError, match=message) as caught:
        OcclumQuote(library(**fault, source=source)).quote(REPORT_DATA)
    assert caught.value.exit_code is ExitCode.QUOTE_FAILED
    assert "Azure DCAP client" in str(caught.value)


@pytest.mark.parametrize("fault", [{}, {"status": 7}], ids=["success", "failure"])
def test_the_device_is_always_closed(library, fault):
    provider = OcclumQuote(library(**fault))
    if fault:
        with pytest.raises(AgentError):
            provider.quote(REPORT_DATA)
    else:
        provider.quote(REPORT_DATA)
    assert provider._library.open_handle_count() == 0


def test_a_missing_library_is_named(tmp_path):
    with pytest.raises(AgentError, match="quote-library") as caught:
        OcclumQuote(str(tmp_path / "absent.so"))
    assert caught.value.exit_code is ExitCode.QUOTE_FAILED


def test_a_library_without_the_functions_is_named(library):
    with pytest.raises(AgentError, match="quote-library"):
        OcclumQuote(library(source="int other;"))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_report_data_has_64_bytes(library, length):
    with pytest.raises(ValueError, match="expected 64"):
        OcclumQuote(library()).quote(bytes(length))


def test_bytes_behind_the_quote_are_refused():
    quote = bytes(432) + (8).to_bytes(4, "little") + b"signed!!"
    assert without_padding(quote + bytes(5)) == quote
    with pytest.raises(AgentError, match="length is wrong"):
        without_padding(quote + b"\0\1")


MEASUREMENT = Measurement(mrenclave="11" * 32, mrsigner="22" * 32, product_id=1, svn=1)


def test_software_quotes_carry_the_measurement():
    provider = software_quote(MEASUREMENT)
    quote = provider.quote(REPORT_DATA)
    assert provider.trust == "simulated"
    assert quote[48 + 64 : 48 + 96] == b"\x11" * 32
    assert quote[48 + 128 : 48 + 160] == b"\x22" * 32


def test_an_image_without_simulation_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "confidential_spark.simulation.enclave.software_quote", None)
    with pytest.raises(AgentError, match="simulation-absent") as caught:
        software_quote(MEASUREMENT)
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
