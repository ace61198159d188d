"""PyTorch networks that spandrel recognises by their tensors: built by it, traced to ONNX.

spandrel holds the code of some forty architectures; none is taken from the file, whose tensors are
read without unpickling. Never beside TensorFlow in one process: Triton ends it.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from io import BytesIO
from math import lcm
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, MissingExtraError, NoWholeNetworkError
from w2s_export.foreign_text import shown
from w2s_export.runtime.protocol import first_line
from w2s_export.sources import safetensors
from w2s_export.sources.choose import choose
from w2s_export.sources.original import Options, Original
from w2s_export.sources.pytorch import stored_tensors
from w2s_export.sources.stored_tensor import Stored, check_size, elements
from w2s_export.sources.torch_archive import open_archive

if TYPE_CHECKING:
    import onnx

_TORCHVISION = "torchvision.transforms.functional"
_EXAMPLES = ((61, 83), (64, 96), (192, 320))
"""Sizes to trace with: the first is a multiple of nothing, so that padding inside is traced."""
_SQUARES = (128, 256, 512)
"""Sides of the one size of a network that computes none of them, such as squares alone."""


def open_original(path: Path, options: Options) -> Original:
    """Open a `.pth`, `.pt` or `.safetensors` file.

    Raises:
        MissingExtraError: torch or spandrel is not installed.
        CheckpointError: no architecture that spandrel has, or one that ONNX cannot express.
    """
    try:
        import torch

        with _torchvision_when_called():
            import spandrel
    except ImportError:
        raise MissingExtraError(
            "is a PyTorch file of another network than RRDBNet, and spandrel is not installed: "
            'python -m pip install "w2s-export[torch]"'
        ) from None
    found, said = _built(spandrel, _candidates(path))
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise CheckpointError(
            f"is a network for {shown(found.purpose)} that needs a mask beside the image; only "
            "one image in and one image out become a package that Fiji runs"
        )
    network = _module(found)

    def run(batch: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(np.array(batch))))

    count = sum(parameter.numel() for parameter in found.model.parameters())
    channels = found.input_channels
    traced = _traced(network, channels)
    return Original(
        traced.model,
        f"PyTorch {torch.__version__}",
        run,
        f"{found.architecture.name}, {count:,} parameters",
        step=lcm(found.size_requirements.multiple_of, traced.step),
        chosen=said,
        unpadded=(lambda: _unpadded(network, channels)) if traced.sized else None,
    )


class _WhenCalled:
    """A function or class of torchvision, imported when it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *given: Any, **named: Any) -> Any:
        return getattr(import_module(_TORCHVISION), self._name)(*given, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what looks through modules asks for these
            raise AttributeError(name)
        return getattr(getattr(import_module(_TORCHVISION), self._name), name)


def _when_called(name: str) -> _WhenCalled:
    if name.startswith("__"):
        raise AttributeError(name)
    return _WhenCalled(name)


@contextmanager
def _torchvision_when_called() -> Iterator[None]:
    """Import spandrel without torchvision, which takes longer than all the rest.

    Two architectures use functions of it, and only when they run.
    """
    if _TORCHVISION not in sys.modules:
        sys.modules[_TORCHVISION] = stand_in = ModuleType(_TORCHVISION)
        stand_in.__dict__["__getattr__"] = _when_called
        try:
            yield
        finally:
            del sys.modules[_TORCHVISION]
    else:
        yield


def _candidates(path: Path) -> list[tuple[Mapping[str, Any], str]]:
    """State dicts that may be the network, the generator of a training first, and what was left.

    Raises:
        CheckpointError: unreadable, objects besides tensors, or quantised numbers.
    """
    with path.open("rb") as stream:
        head = stream.read(9)
    if head[8:9] == b"{":
        return _chosen(safetensors.stored_tensors(path))
    with open_archive(path) as content:
        return _chosen(stored_tensors(content))


def _chosen(tensors: list[Stored]) -> list[tuple[Mapping[str, Any], str]]:
    taken, said = choose(tensors)
    found = [(_state(taken), said)]
    if said or len(taken[0].key) < len(tensors[0].key):  # an architecture may use a wrapper's name
        found.append((_state(tensors), ""))
    return found


def _state(tensors: Sequence[Stored]) -> Mapping[str, Any]:
    import torch

    check_size(sum(8 * elements(one.key, one.shape) for one in tensors), "its tensors")
    values = ((one, np.ascontiguousarray(one.read())) for one in tensors)
    return {
        one.key: torch.from_numpy(value.astype(np.float32) if _is_float(value) else value)
        for one, value in values
    }


def _is_float(value: NDArray[Any]) -> bool:
    return bool(np.issubdtype(value.dtype, np.floating))


def _built(spandrel: Any, candidates: Sequence[tuple[Mapping[str, Any], str]]) -> tuple[Any, str]:
    """The first of the state dicts that is a network's, built, and what was left aside.

    Raises:
        NoWholeNetworkError: none is of an architecture that spandrel has.
        CheckpointError: one is, and does not fit it.
    """
    loader = spandrel.ModelLoader(device="cpu")
    for state, said in candidates:
        try:
            return loader.load_from_state_dict(dict(state)), said
        except spandrel.UnsupportedModelError:
            continue
        except Exception as error:  # a wrong guess of the architecture fails while it is filled
            raise CheckpointError(f"spandrel cannot build it: {shown(error)}") from None
    first = ", ".join(list(candidates[0][0])[:3])
    raise NoWholeNetworkError(
        f"spandrel {spandrel.__version__} has no architecture of these tensors either "
        f"(first keys: {shown(first)}); code of a file is never run, so export it to ONNX where it "
        "was made and give that file"
    )


def _module(found: Any) -> Any:
    """The network as spandrel calls it, without its clamp to 0…1.

    It gets a copy: RCAN multiplies its input in place, so whoever compared an export with PyTorch
    on the same array compared it with another image.
    """
    import torch

    call = getattr(found, "_call_fn", None) or (lambda model, image: model(image))

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = found.model

        def forward(self, image: Any) -> Any:
            return call(self.network, image.clone())

    return Network().eval()


class _Traced(NamedTuple):
    """A network as ONNX."""

    model: onnx.ModelProto
    step: int
    """What sizes must be multiples of for it to be the same."""
    sized: bool
    """Whether numbers that the network computed of the example's size outside PyTorch are in it."""


def _traced(network: Any, channels: int) -> _Traced:
    """The network as ONNX, traced with the most general example that it takes.

    Raises:
        CheckpointError: PyTorch cannot write it; says why.
    """
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.CRITICAL)
    unfit: list[str] = []
    reasons: list[str] = []
    for pooling, fixed, size in _attempts():
        if fixed and reasons:  # it computes images of other sizes, which cannot be written
            break
        image = torch.rand(1, channels, *size)
        try:
            with torch.no_grad():
                network(image)
        except Exception as error:  # networks raise errors of any class
            unfit.append(f"{size[0]}×{size[1]}: {first_line(error).strip()}")
            continue
        try:
            model, sized = _exported(network, image, pooling, fixed)
            return _Traced(model, pooling.step if pooling else 1, sized and size == _EXAMPLES[0])
        except Exception as error:  # so does the tracer
            first = first_line(error).strip()
            reasons.append(first.partition(" Please feel free")[0].rstrip(" ."))
    if not reasons:
        raise CheckpointError(f"computes no image in PyTorch (of {shown('; '.join(unfit))})")
    raise CheckpointError(
        f"PyTorch {torch.__version__} cannot write it as ONNX ({shown(reasons[0])}); such networks "
        "run in PyTorch alone"
    )


def _attempts() -> Iterator[tuple[_WindowPooling | None, bool, tuple[int, int]]]:
    """How pooling is written, whether the size is fixed, and the size: the most general first."""
    for size in _EXAMPLES:
        yield None, False, size
    pooling = _WindowPooling()
    for size in _EXAMPLES[1:]:
        yield pooling, False, size
    for side in _SQUARES:
        yield None, True, (side, side)


def _unpadded(network: Any, channels: int) -> onnx.ModelProto:
    """The network as ONNX, traced with an image that needs no padding.

    FBCNN computes in Python how many rows and columns make a multiple of 8, so that they become
    numbers: none, for a size that is one.
    """
    import torch

    return _exported(network, torch.rand(1, channels, *_EXAMPLES[1]), None, False)[0]


def _exported(
    network: Any, image: Any, pooling: _WindowPooling | None, fixed: bool
) -> tuple[onnx.ModelProto, bool]:
    """The network as ONNX, and whether the tracer warned of sizes that became plain numbers."""
    import onnx
    import torch

    buffer = BytesIO()
    axes = {0: "n"} if fixed else {0: "n", 2: "y", 3: "x"}
    with (
        warnings.catch_warnings(record=True) as told,
        torch.no_grad(),
        pooling or nullcontext(),
        _followed_data(),
    ):
        warnings.simplefilter("always")
        torch.onnx.export(
            network,
            (image,),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": axes},
        )
    sized = any("Converting a tensor to a" in str(one.message) for one in told)
    return onnx.load_model_from_string(buffer.getvalue()), sized


@contextmanager
def _followed_data() -> Iterator[None]:
    """`x.data` as PyTorch's tracer follows it: DITN reads sizes by `x.data.shape`.

    Otherwise such a size becomes the number that it had when the network was traced.
    """
    import torch

    torch.Tensor.data = property(torch.Tensor.detach, torch.Tensor.data.__set__)
    try:
        yield
    finally:
        del torch.Tensor.data


class _WindowPooling:
    """Pooling to a part of an image's size, as pooling over windows: the same where these fit.

    ONNX has no pooling to a computed size. SAFMN pools to a half, a quarter and an eighth.
    """

    def __init__(self) -> None:
        self.step = 1
        """Sizes must be multiples of it."""

    def __enter__(self) -> None:
        from torch.nn import functional

        self._kept = (functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d)
        functional.adaptive_max_pool2d = self._by(self._kept[0], functional.max_pool2d)
        functional.adaptive_avg_pool2d = self._by(self._kept[1], functional.avg_pool2d)

    def __exit__(self, *_: object) -> None:
        from torch.nn import functional

        functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d = self._kept

    def _by(self, original: Any, windowed: Any) -> Any:
        def pool(image: Any, output_size: Any, *rest: Any, **named: Any) -> Any:
            wanted = output_size if isinstance(output_size, tuple | list) else [output_size] * 2
            sizes = [
                (int(have), int(want)) for have, want in zip(image.shape[2:], wanted, strict=True)
            ]
            if any(want == 1 or have % want for have, want in sizes):
                return original(image, output_size, *rest, **named)
            windows = [have // want for have, want in sizes]
            self.step = lcm(self.step, *windows)
            return windowed(image, windows)

        return pool
