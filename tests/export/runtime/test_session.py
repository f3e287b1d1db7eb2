"""Sessions that request CUDA where it is unavailable."""

import pytest
from onnx import TensorProto, helper

from export.runtime.device import Device, cuda_devices
from export.runtime.session import Session
from vae_core.errors import UserError


def identity() -> bytes:
    """A graph that returns what it is given."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return data


@pytest.fixture
def a_device_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that reports a device which ONNX Runtime cannot open."""
    if cuda_devices():
        pytest.skip("there is a CUDA device")
    monkeypatch.setattr("export.runtime.session.cuda_devices", lambda: 1)
    monkeypatch.setattr("export.runtime.session.cuda_memory", lambda index: 1 << 30)


@pytest.mark.usefixtures("a_device_that_cannot_be_used")
def test_cuda_is_not_replaced_by_the_cpu() -> None:
    words = r"^ONNX Runtime cannot use CUDA on the machine \S+; install vae-core\[gpu\] there, or use provider cpu$"
    for provider in ("cuda", Device("cuda", index=0, share=0.25)):
        with pytest.raises(UserError, match=words):
            Session(identity(), provider=provider)  # type: ignore[arg-type]


@pytest.mark.usefixtures("a_device_that_cannot_be_used")
def test_auto_falls_back_with_a_warning() -> None:
    with pytest.warns(RuntimeWarning, match="running on the CPU although there is a GPU: ONNX Runtime cannot use CUDA"):
        assert Session(identity()).provider == "cpu"


def test_cpu_threads_and_provider_are_those_of_the_device() -> None:
    session = Session(identity(), provider=Device("cpu", threads=3))
    assert session.provider == "cpu"
    assert session._session.get_session_options().intra_op_num_threads == 3
