"""The texts of torch and its libraries, by version, and whose fault each is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from antenna_orchestration import errors
from antenna_orchestration.pipelines import device_errors
from antenna_orchestration.pipelines.device_errors import Fault

_ADVICE = (
    "\nSearch for `cudaErrorIllegalAddress' in https://docs.nvidia.com/cuda/ for more information.\n"
    "CUDA kernel errors might be asynchronously reported at some other API call.\n"
)

TEXTS = [
    # Short of memory.
    ("torch 1.13-2.4", Fault.MEMORY, "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.9 GiB total capacity)"),
    ("torch 2.5-2.14", Fault.MEMORY, "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of"),
    ("torch 2.13-2.14", Fault.MEMORY, "CUDA out of memory. Allocation was preemptively rejected because it would exce"),
    ("torch 2.14", Fault.MEMORY, "CUDA ran out of memory outside PyTorch's allocator. If this workload uses many "),
    ("torch 2.0-2.14", Fault.MEMORY, "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    ("torch 2.3-2.14", Fault.MEMORY, "CUDA driver error: out of memory"),
    ("torch 1.8-2.14", Fault.MEMORY, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ("torch 1.8-2.14", Fault.MEMORY, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ("cuDNN 9", Fault.MEMORY, "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ("torch 2.0-2.14, CPU", Fault.MEMORY, "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't "
     "allocate memory: you tried to allocate 400 bytes. Error code 12 (Cannot allocat"),
    ("torchvision 0.20-0.29", Fault.MEMORY, "Failed to decode batch: 5"),
    ("torchvision 0.20-0.29", Fault.MEMORY, "Failed to create nvjpeg decoder state: 5"),
    ("torchvision 0.20-0.29", Fault.MEMORY, "Failed to synchronize CUDA stream: 2"),
    ("OpenCV 5", Fault.MEMORY, "OpenCV(5.0.0) /io/opencv/modules/core/src/alloc.cpp:73: error: (-4:Insufficient memory)"
     " Failed to allocate 16204800 bytes in function 'OutOfMemoryError'"),
    ("onnxruntime 1.20-1.32", Fault.MEMORY, "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code "
     "returned while running Conv node. Name:'/network/stem' Status Message: std::bad_alloc"),
    ("Linux", Fault.MEMORY, "[Errno 12] Cannot allocate memory"),
    ("Python 3", Fault.MEMORY, "can't start new thread"),
    # Lost.
    ("torch 1.10-2.7", Fault.LOST, f"CUDA error: an illegal memory access was encountered{_ADVICE}"),
    ("torch 1.10-2.14", Fault.LOST, f"CUDA error: device-side assert triggered{_ADVICE}"),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: unspecified launch failure"),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: uncorrectable ECC error encountered"),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: the launch timed out and was terminated"),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: all CUDA-capable devices are busy or unavailable"),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: unknown error"),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle, ..."),
    ("torch 1.10-2.14", Fault.LOST, "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    ("torch 1.10-2.14", Fault.LOST, "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ("torch 1.10-2.14", Fault.LOST, "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    ("torch 2.3-2.14", Fault.LOST, "CUDA driver error: an illegal memory access was encountered"),
    ("torch 2.3-2.14", Fault.LOST, "CUDA driver error: unknown error"),
    ("torchvision 0.20-0.29", Fault.LOST, "Failed to synchronize CUDA stream: 700"),
    ("thrust in torch 2", Fault.LOST, "merge_sort: failed to synchronize: cudaErrorIllegalAddress: an illegal memory"),
    # The pipeline's own.
    ("torch 1.10-2.14", Fault.PIPELINE, "CUDA error: no kernel image is available for execution on the device"),
    ("torch 1.10-2.14", Fault.PIPELINE, "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed"),
    ("torch 1.10-2.14", Fault.PIPELINE, "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm(...)`"),
    ("torch 1.10-2.14", Fault.PIPELINE, f"CUDA error: invalid configuration argument{_ADVICE}"),
    ("torch 1.10-2.14", Fault.PIPELINE, f"CUDA error: invalid device ordinal{_ADVICE}"),
    ("an own pipeline", Fault.PIPELINE, "Failed to decode the table of sites: 5"),
    ("torch 1.10-2.14", Fault.PIPELINE, "Expected all tensors to be on the same device, but found at least two device"),
    ("torch 1.10-2.14", Fault.PIPELINE, "The size of tensor a (3) must match the size of tensor b (4) at dimension 0"),
    # nvJPEG refused the photograph: the CPU decides.
    ("torchvision 0.20-0.29", Fault.PIPELINE, "Failed to decode batch: 4"),
    ("torchvision 0.20-0.29", Fault.PIPELINE, "Failed to get image info: 3"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "fault", "text"), TEXTS)
def test_each_text_has_its_fault(version: str, fault: Fault, text: str) -> None:
    assert device_errors.fault_of(RuntimeError(text)) is fault, version


def test_classes_count_whatever_they_say() -> None:
    assert device_errors.fault_of(torch.OutOfMemoryError("")) is Fault.MEMORY
    assert device_errors.fault_of(torch.AcceleratorError("", 700)) is Fault.LOST
    assert device_errors.fault_of(MemoryError()) is Fault.MEMORY
    assert device_errors.fault_of(errors.ImageUnusable("not an image")) is Fault.IMAGE
    assert device_errors.fault_of(ValueError("x")) is Fault.PIPELINE


def test_what_an_error_was_raised_from_counts() -> None:
    """M3: a pipeline that wraps what it met hides neither lack of memory nor a lost device."""

    def wrapped(outer: Exception, inner: Exception, *, named: bool) -> BaseException:
        try:
            try:
                raise inner
            except Exception as error:
                raise outer from (error if named else None)
        except Exception as error:
            return error

    short, lost = (
        RuntimeError("CUDA out of memory."),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    )
    assert device_errors.fault_of(wrapped(errors.InternalError("two crops"), short, named=True)) is Fault.MEMORY
    assert device_errors.fault_of(wrapped(errors.InternalError("two crops"), lost, named=True)) is Fault.LOST
    assert device_errors.fault_of(wrapped(errors.InternalError("two crops"), lost, named=False)) is Fault.PIPELINE
    assert device_errors.fault_of(wrapped(errors.ImageUnusable("too small"), short, named=True)) is Fault.IMAGE


def test_torchvision_here_has_the_texts_of_the_table() -> None:
    library = next(Path(torchvision.__file__).parent.glob("image*.so")).read_bytes()
    if b"nvjpeg" not in library:
        pytest.skip("this torchvision was built without nvJPEG")
    for text in (
        "Failed to decode batch: ",
        "Failed to synchronize CUDA stream: ",
        "Failed to create nvjpeg decoder state: ",
    ):
        assert text.encode() in library


def test_real_lack_of_memory_on_this_machine_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert device_errors.is_out_of_memory(caught.value)
