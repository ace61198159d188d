"""SavedModels of anybody, of TensorFlow 1 and 2: run cut down and checked, converted by tf2onnx.

TensorFlow's loader is not used: it runs what the file lists as initialisers, and does not load a
network that was compiled with an optimizer of Keras 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from w2s_export.counting import counted
from w2s_export.errors import CheckpointError, PackageError
from w2s_export.foreign_text import shown
from w2s_export.runtime.saved_model import SIGNATURE, saved_model_folder
from w2s_export.runtime.saved_model_graph import OpenedGraph, all_nodes, open_graph, read_graph
from w2s_export.sources.by_tf2onnx import convert
from w2s_export.sources.choose import chosen
from w2s_export.sources.generator_names import is_aside
from w2s_export.sources.original import Options, Original

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def open_original(path: Path, options: Options) -> Original:
    """Open a folder or a zip.

    Raises:
        CheckpointError: damaged, no such signature, operations that are not run or not converted.
    """
    with saved_model_folder(path) as given:
        folder = _root(given)
        try:
            signature = _signature(folder, options.get("signature"))
            opened = open_graph(
                folder, signature, any_size=bool(options.get("dynamic")), single=True
            )
        except PackageError as error:
            raise CheckpointError(str(error)) from None
        if len(opened.sources) != 1 or len(opened.targets) != 1:
            told = read_graph(folder).signature_def[signature]
            ins, outs = (shown(", ".join(sorted(side))) for side in (told.inputs, told.outputs))
            raise CheckpointError(
                f"its signature '{shown(signature)}' has {counted(len(opened.sources), 'input')} "
                f"({ins}) and {counted(len(opened.targets), 'output')} ({outs}); only one image "
                "in and one image out become a package that Fiji runs"
            )
        converted = _converted(opened)
        said = chosen(
            f"signature {signature}", _aside(folder / "variables" / "variables", opened.variables)
        )

    def run(batch: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(opened.run([batch])[0])

    count = sum(int(np.prod(tensor.dims)) for tensor in converted.graph.initializer)
    return Original(
        converted,
        f"TensorFlow {tf.__version__}",
        run,
        f"TensorFlow network, {count:,} numbers",
        chosen=said,
    )


def _aside(prefix: Path, needed: int) -> list[str]:
    """What a training saved beside the network: the optimizer, metrics, a discriminator.

    Args:
        prefix: of the variables' files.
        needed: how many variables the network has. Where no others are saved, nothing was left
            aside, whatever a layer is called.
    """
    import tensorflow as tf

    if not prefix.with_name("variables.index").is_file():
        return []
    keys = [key for key, _ in tf.train.list_variables(str(prefix)) if key != _OBJECT_GRAPH]
    found = {"optimizer" for key in keys if ".OPTIMIZER_SLOT" in key}
    if len(keys) > needed:
        found |= {part for key in keys for part in key.split("/")[:2] if is_aside(part)}
    return sorted(found)


def _root(folder: Path) -> Path:
    """The folder of the graph: zips often hold it one level down."""
    found = [folder, *(child for child in sorted(folder.iterdir()) if child.is_dir())]
    roots = [place for place in found if (place / "saved_model.pb").is_file()]
    if not roots:
        raise CheckpointError("has no saved_model.pb; give the whole folder, or its zip")
    if len(roots) > 1 and roots[0] != folder:
        names = ", ".join(f"'{place.name}'" for place in roots)
        raise CheckpointError(
            f"holds {len(roots)} SavedModels, {shown(names)}; unpack it and give the folder of one"
        )
    return roots[0]


def _signature(folder: Path, wanted: str | None) -> str:
    names = sorted(read_graph(folder).signature_def)
    names = [name for name in names if not name.startswith("__saved_model")]
    if wanted is not None and wanted not in names:
        raise CheckpointError(
            f"has no signature '{shown(wanted)}'; it has {shown(', '.join(names) or 'none')}"
        )
    if wanted is None and SIGNATURE not in names and len(names) != 1:
        raise CheckpointError(
            f"has the signatures {shown(', '.join(names) or 'none')}; choose one with --signature"
        )
    return wanted or (SIGNATURE if SIGNATURE in names else names[0])


def _converted(opened: OpenedGraph) -> onnx.ModelProto:
    def converter() -> Any:
        frozen = opened.frozen()
        for part in (*all_nodes(frozen), *frozen.library.function):
            for mark in ("_XlaMustCompile", "_noinline"):  # tf2onnx looks into no call that has one
                part.attr.pop(mark, None)
        return tf2onnx.convert.from_graph_def(
            frozen, input_names=opened.sources, output_names=opened.targets, opset=17
        )

    return convert(converter)
