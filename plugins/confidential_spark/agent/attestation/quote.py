"""Where quotes come from: SGX hardware through Occlum, or software in a simulated enclave."""

from __future__ import annotations

import ctypes
import importlib
import struct
from typing import TYPE_CHECKING, ClassVar, Protocol

from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.protocol import MAX_QUOTE_BYTES, REPORT_DATA_BYTES, TRUST_HARDWARE

if TYPE_CHECKING:
    from confidential_spark.agent.attestation.measurement import Measurement

OCCLUM_LIBRARY = "libocclum_dcap.so"
# Quote header and report body, then the length of the signature data that follows.
SIGNATURE_LENGTH_OFFSET = 432


class QuoteProvider(Protocol):
    """Something that vouches for 64 bytes of report data; ``trust`` says what its word is worth."""

    @property
    def trust(self) -> str:
        """``hardware`` or ``simulated``."""

    def quote(self, report_data: bytes) -> bytes:
        """Return an SGX quote over ``report_data``."""


class OcclumQuote:
    """Quotes from the CPU, through the C API of Occlum's `libocclum_dcap.so` (`occlum_dcap.h`)."""

    trust: ClassVar[str] = TRUST_HARDWARE

    def __init__(self, library: str = OCCLUM_LIBRARY) -> None:
        """Load the library.

        :raises AgentError: ``quote-library``.
        """
        try:
            self._library = _declare(ctypes.CDLL(library))
        except (OSError, AttributeError) as error:
            raise _failed("quote-library", "Occlum's quote library cannot be loaded.", str(error)) from error

    def quote(self, report_data: bytes) -> bytes:
        """Return a quote of this enclave over 64 bytes.

        :raises AgentError: ``quote-failed``.
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {len(report_data)} bytes, expected {REPORT_DATA_BYTES}")
        handle = self._library.dcap_quote_open()
        if not handle:
            raise _failed("quote-failed", "The SGX device cannot be opened.", "no handle")
        try:
            return self._generate(handle, report_data)
        finally:
            self._library.dcap_quote_close(handle)

    def _generate(self, handle: int, report_data: bytes) -> bytes:
        size = self._library.dcap_get_quote_size(handle)
        if not SIGNATURE_LENGTH_OFFSET + 4 < size <= MAX_QUOTE_BYTES:
            raise _failed("quote-failed", "The size of a quote is not known.", f"{size} bytes")
        buffer = ctypes.create_string_buffer(size)
        data = (ctypes.c_uint8 * REPORT_DATA_BYTES).from_buffer_copy(report_data)
        status = self._library.dcap_generate_quote(handle, buffer, data)
        if status != 0:
            raise _failed("quote-failed", "The CPU gave no quote.", f"status {status & 0xFFFFFFFF:#x}")
        return without_padding(buffer.raw)


def without_padding(buffer: bytes) -> bytes:
    """Return the quote at the start of a buffer, whose size is an upper bound.

    :raises AgentError: ``quote-failed`` when the buffer ends early or continues with other than zeros.
    """
    (signature_length,) = struct.unpack_from("<I", buffer, SIGNATURE_LENGTH_OFFSET)
    end = SIGNATURE_LENGTH_OFFSET + 4 + signature_length
    if signature_length == 0 or end > len(buffer) or any(buffer[end:]):
        raise _failed(
            "quote-failed", "The quote's length is wrong.", f"{end} bytes in a buffer of {len(buffer)}"
        )
    return buffer[:end]


def software_quote(measurement: Measurement) -> QuoteProvider:
    """Return the simulated enclave's quote provider; an image for hardware does not contain it.

    :raises AgentError: ``simulation-absent``.
    """
    try:
        # By name, because the agent is the lowest layer: nothing of it depends on the simulation.
        simulation = importlib.import_module("confidential_spark.simulation.enclave.software_quote")
    except ModuleNotFoundError as error:
        raise AgentError(
            "This image has no simulated enclave.",
            code="simulation-absent",
            got="quote_provider software",
            expected="quote_provider occlum",
            action="start the simulated image, or ask for hardware quotes",
        ) from error
    provider: QuoteProvider = simulation.SoftwareQuote(
        simulation.EnclaveIdentity(
            mrenclave=bytes.fromhex(measurement.mrenclave),
            mrsigner=bytes.fromhex(measurement.mrsigner),
            product_id=measurement.product_id,
            svn=measurement.svn,
            debug=measurement.debuggable,
        )
    )
    return provider


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    library.dcap_quote_open.restype = ctypes.c_void_p
    library.dcap_quote_open.argtypes = []
    library.dcap_get_quote_size.restype = ctypes.c_uint32
    library.dcap_get_quote_size.argtypes = [ctypes.c_void_p]
    library.dcap_generate_quote.restype = ctypes.c_int32
    library.dcap_generate_quote.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    library.dcap_quote_close.restype = None
    library.dcap_quote_close.argtypes = [ctypes.c_void_p]
    return library


def _failed(code: str, message: str, got: str) -> AgentError:
    return AgentError(
        message,
        exit_code=ExitCode.QUOTE_FAILED,
        code=code,
        got=got,
        expected="a quote through Occlum's DCAP library",
        action="check /dev/sgx/enclave, /dev/sgx/provision, and that the Azure DCAP client is installed",
    )
