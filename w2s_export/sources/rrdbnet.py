"""From the checkpoint of an RRDBNet to a network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from w2s_export.counting import counted
from w2s_export.network import Network

if TYPE_CHECKING:
    import onnx

    from w2s_export.runtime.protocol import Runtime
    from w2s_export.sources.checkpoint import Checkpoint


def rrdbnet_network(checkpoint: Checkpoint, graph: onnx.ModelProto | None = None) -> Network:
    """The network of a checkpoint; its graph is written anew unless it is given.

    Raises:
        CheckpointMismatchError: the weights do not fit, or hold NaN or infinity.
        ConfigError: the network is too large for a single file.
    """
    from w2s_export.graph.facts import read_facts
    from w2s_export.graph.rrdbnet import write_rrdbnet

    config = checkpoint.config
    graph = graph or write_rrdbnet(config, checkpoint.weights)
    return Network(
        graph=graph,
        architecture=f"RRDBNet, {counted(config.nb, 'block')} of {counted(config.nf, 'feature')}",
        channels_in=config.in_nc,
        channels_out=config.out_nc,
        scale=config.scale,
        facts=read_facts(graph),
        reference=partial(keras_reference, checkpoint),
        step=config.pixel_unshuffle,
        minimum=config.pixel_unshuffle,
        normalisation=checkpoint.normalisation,
        provenance=checkpoint.provenance,
        source_format=checkpoint.source_format,
        chosen=checkpoint.chosen,
        assumed=checkpoint.assumed,
        checkpoint=checkpoint,
    )


def keras_reference(checkpoint: Checkpoint) -> Runtime:
    """The Keras model of the family with these weights: written independently of the ONNX graph."""
    from w2s_export.networks.rrdbnet import build_generator, set_weights
    from w2s_export.runtime.keras import KerasRuntime

    model = build_generator(checkpoint.config)
    set_weights(model, checkpoint.config, checkpoint.weights)
    return KerasRuntime(model)
