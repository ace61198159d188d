"""PyTorch networks that spandrel recognises by their tensors: built by it, traced to ONNX.

spandrel holds the code of some forty architectures; none is taken from the file, whose tensors are
read without unpickling. Never beside TensorFlow in one process: Triton ends it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from w2s_export.errors import CheckpointError, MissingExtraError, NoWholeNetworkError
from w2s_export.shown import shown
from w2s_export.sources.original import Options, Original

if TYPE_CHECKING:
    import onnx

_EXAMPLES = ((61, 83), (64, 96), (192, 320))
"""Sizes to trace with: the first is a multiple of nothing, so that padding inside is traced."""
_PREFIXES = (
    "generator_ema.", "generator.", "net_g_ema.", "net_g.", "netG.", "G.", "model.", "module.",
)  # fmt: skip


def open_original(path: Path, options: Options) -> Original:
    """Open a `.pth`, `.pt` or `.safetensors` file.

    Raises:
        MissingExtraError: torch or spandrel is not installed.
        CheckpointError: no architecture that spandrel has, or one that ONNX cannot express.
    """
    try:
        import spandrel
        import torch
    except ImportError:
        raise MissingExtraError(
            "is a PyTorch file of another network than RRDBNet, and spandrel is not installed: "
            'pip install "w2s-export[torch]"'
        ) from None
    candidates = generators_of(read_tensors(path))
    loader = spandrel.ModelLoader(device="cpu")
    try:
        state, left_aside = next(
            (c for c in candidates if _recognised(spandrel, c[0])), candidates[0]
        )
        found = loader.load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError:
        first = ", ".join(list(state)[:3])
        raise NoWholeNetworkError(
            f"holds the tensors of an architecture that spandrel {spandrel.__version__} does not "
            f"have (first keys: {shown(first)}); code of a file is never run, so export it to ONNX "
            "where it was made and give that file"
        ) from None
    except Exception as error:  # a wrong guess of the architecture fails while it is filled
        raise CheckpointError(f"spandrel cannot build it: {shown(error)}") from None
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
    return Original(
        _traced(network, found.input_channels),
        f"PyTorch {torch.__version__}",
        run,
        f"{found.architecture.name}, {count:,} parameters",
        step=found.size_requirements.multiple_of,
        left_aside=left_aside,
    )


def read_tensors(path: Path) -> Any:
    """Everything the file holds, without unpickling anything but tensors.

    Raises:
        CheckpointError: unreadable, or objects besides tensors.
    """
    import torch

    with path.open("rb") as stream:
        head = stream.read(9)
    if head[8:9] == b"{":
        from safetensors.torch import load_file

        return load_file(str(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"holds more than tensors, or is damaged ({shown(error)}); code of a file is never "
            "run: save the weights alone, torch.save(network.state_dict(), FILE)"
        ) from None


def _recognised(spandrel: Any, state: Mapping[str, Any]) -> bool:
    try:
        spandrel.MAIN_REGISTRY.load(dict(state))
    except spandrel.UnsupportedModelError:
        return False
    except Exception:  # recognised, and wrong in some tensor: loading it again says what
        return True
    return True


def generators_of(content: Any) -> list[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """State dicts that may be the network itself, averaged weights first, and what else is there.

    The tensors as they are, then those below each of the usual names.
    """
    import torch

    left: list[str] = []
    wrappers = (
        "params_ema", "generator_ema", "net_g_ema", "ema", "params", "state_dict",
        "model_state_dict", "generator", "net_g", "netG", "G", "model", "weights", "params-ema",
    )  # fmt: skip
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        wrapper = next((k for k in wrappers if isinstance(content.get(k), Mapping)), None)
        if wrapper is None:
            break
        left += [str(key) for key in content if key != wrapper]
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise CheckpointError("holds no state dict: tensors by name are expected")
    state = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    found: list[tuple[Mapping[str, Any], tuple[str, ...]]]
    found = [(state, tuple(dict.fromkeys(left)))]
    for prefix in _PREFIXES:
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        others = sorted({key.split(".")[0] for key in state if not key.startswith(prefix)})
        if part:
            found.append((part, tuple(dict.fromkeys([*left, *others]))))
    return found


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


def _traced(network: Any, channels: int) -> onnx.ModelProto:
    import onnx
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.CRITICAL)
    reason = ""
    for size in _EXAMPLES:
        buffer = BytesIO()
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    network,
                    (torch.rand(1, channels, *size),),
                    buffer,
                    dynamo=False,
                    opset_version=17,
                    input_names=["input"],
                    output_names=["output"],
                    dynamic_axes={"input": {0: "n", 2: "y", 3: "x"}},
                )
        except Exception as error:  # the tracer and the network raise errors of any class
            reason = reason or str(error).strip().splitlines()[0]
            continue
        return onnx.load_model_from_string(buffer.getvalue())
    raise CheckpointError(
        f"PyTorch {torch.__version__} cannot write it as ONNX ({shown(reason)}); such networks "
        "run in PyTorch alone"
    )
