"""What becomes of each architecture that spandrel knows, measured with small random weights.

`python -m tests.spandrel_table` prints a row per architecture for docs/networks.md: the exported
graph runs at several sizes as PyTorch does, or the reason why there is none. PyTorch alone is in
this process: it does not live with TensorFlow.
"""

from __future__ import annotations

import importlib
import signal
import sys
from math import lcm
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from w2s_export.errors import W2SExportError
from w2s_export.graph.facts import facts_of_any
from w2s_export.sources import foreign_program, torch_network

SECONDS = 120
"""Of processor time that one architecture may take."""

_WINDOWS = {"embed_dim": 12, "depths": [2], "num_heads": [2], "mlp_ratio": 2}
_UNET = {"nc": [8, 16, 16, 16], "nb": 2}
SMALL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ATD": ("ATD.__arch.atd_arch", "ATD", {
        **_WINDOWS, "upscale": 2, "upsampler": "pixelshuffledirect", "category_size": 64,
        "num_tokens": 8, "reducted_dim": 4}),
    "AuraSR": ("AuraSR.__arch.aura_sr", "UnetUpsampler", {
        "dim": 8, "image_size": None, "input_image_size": None,
        "style_network": {"dim_in": 16, "dim_out": 64, "depth": 1}, "up_dim_mults": (1, 1, 1, 1, 1),
        "down_dim_mults": (1, 1, 1), "full_attn": (False, False, False, False, True),
        "self_attn_dim_head": 8, "attn_depths": (2, 2, 2, 2, 1), "mid_attn_depth": 1,
        "num_conv_kernels": 2, "unconditional": True}),
    "CRAFT": ("CRAFT.__arch.CRAFT", "CRAFT", {
        "embed_dim": 24, "depths": [2], "num_heads": [6], "upscale": 2}),
    "Compact": ("Compact.__arch.SRVGG", "SRVGGNetCompact", {
        "num_feat": 8, "num_conv": 2, "upscale": 2}),
    "DAT": ("DAT.__arch.DAT", "DAT", {
        "embed_dim": 32, "depth": [2], "num_heads": [2], "split_size": [4, 8], "upscale": 2}),
    "DCTLSA": ("DCTLSA.__arch.dctlsa", "DCTLSA", {"nf": 10, "num_modules": 6, "upscale": 2}),
    "DITN": ("DITN.__arch.DITN_Real", "DITN_Real", {
        "dim": 12, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 2}),
    "DRCT": ("DRCT.__arch.drct_arch", "DRCT", {
        "embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 8, "upscale": 2,
        "upsampler": "pixelshuffle", "gc": 4}),
    "DRUNet": ("DRUNet.__arch.network_unet", "DRUNet", {**_UNET, "in_nc": 4, "out_nc": 3}),
    "DnCNN": ("DnCNN.__arch.network_dncnn", "DnCNN", {"nc": 8, "nb": 4}),
    "ESRGAN": ("ESRGAN.__arch.RRDB", "RRDBNet", {"num_filters": 8, "num_blocks": 1}),
    "FBCNN": ("FBCNN.__arch.FBCNN", "FBCNN", {
        "nc": [8, 16, 16, 512], "nb": 2}),
    "FDAT": ("FDAT.__arch.fdat", "FDAT", {
        "embed_dim": 16, "num_groups": 1, "depth_per_group": 1, "scale": 2, "mid_dim": 8,
        "num_heads": 2}),
    "FFTformer": ("FFTformer.__arch.fftformer_arch", "FFTformer", {
        "dim": 8, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1}),
    "GFPGAN": ("GFPGAN.__arch.gfpganv1_clean_arch", "GFPGANv1Clean", {
        "out_size": 512, "channel_multiplier": 2, "fix_decoder": False, "num_mlp": 8,
        "input_is_latent": True, "different_w": True, "sft_half": True}),
    "GRL": ("GRL.__arch.grl", "GRL", {
        "embed_dim": 16, "depths": [1], "num_heads_window": [2], "num_heads_stripe": [2],
        "upscale": 2, "upsampler": "pixelshuffledirect"}),
    "HAT": ("HAT.__arch.HAT", "HAT", {
        "embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 16, "upscale": 2,
        "upsampler": "pixelshuffle", "squeeze_factor": 6}),
    "HVI-CIDNet": ("HVICIDNet.__arch.cidnet", "CIDNet", {"channels": [4, 4, 8, 16]}),
    "IPT": ("IPT.__arch.ipt", "IPT", {
        "patch_size": 16, "patch_dim": 2, "n_feats": 12, "scale": [2], "num_layers": 1}),
    "KBNet": ("KBNet.__arch.kbnet_s", "KBNet_s", {
        "width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
    "LaMa": ("LaMa.__arch.LaMa", "LaMa", {"in_nc": 4, "out_nc": 3}),
    "MMRealSR": ("MMRealSR.__arch.mmrealsr_arch", "MMRRDBNet_test", {
        "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 4,
        "num_feats": [8, 8, 8, 8], "num_blocks": [1, 1, 1, 1]}),
    "MixDehazeNet": ("MixDehazeNet.__arch.MixDehazeNet", "MixDehazeNet", {
        "embed_dims": [8, 8, 8, 8, 8], "depths": [1, 1, 1, 1, 1]}),
    "MoESR": ("MoESR.__arch.MoESR", "MoESR", {
        "dim": 16, "n_blocks": 1, "n_block": 1, "scale": 2}),
    "MoSR": ("MoSR.__arch.mosr_arch", "MoSR", {"dim": 16, "n_block": 2, "upscale": 2}),
    "NAFNet": ("NAFNet.__arch.NAFNet_arch", "NAFNet", {
        "width": 8, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
    "OmniSR": ("OmniSR.__arch.OmniSR", "OmniSR", {"num_feat": 16, "up_scale": 2}),
    "PLKSR": ("PLKSR.__arch.PLKSR", "PLKSR", {
        "dim": 16, "n_blocks": 2, "upscaling_factor": 2}),
    "RealPLKSR": ("PLKSR.__arch.RealPLKSR", "RealPLKSR", {
        "dim": 16, "n_blocks": 2, "upscaling_factor": 2}),
    "RCAN": ("RCAN.__arch.rcan_arch", "RCAN", {
        "n_feats": 16, "n_resgroups": 2, "n_resblocks": 1, "scale": 2, "reduction": 4}),
    "RGT": ("RGT.__arch.rgt", "RGT", {
        "embed_dim": 12, "depth": [2], "num_heads": [2], "upscale": 2}),
    "RealCUGAN": ("RealCUGAN.__arch.upcunet_v3", "UpCunet2x", {}),
    "RestoreFormer": ("RestoreFormer.__arch.restoreformer_arch", "RestoreFormer", {
        "n_embed": 16, "embed_dim": 32, "z_channels": 32, "ch": 32, "ch_mult": (1, 1),
        "num_res_blocks": 1}),
    "RetinexFormer": ("RetinexFormer.__arch.retinexformer_arch", "RetinexFormer", {
        "n_feat": 8, "stage": 1}),
    "SAFMN": ("SAFMN.__arch.safmn", "SAFMN", {
        "dim": 16, "n_blocks": 1, "upscaling_factor": 2}),
    "SAFMN-BCIE": ("SAFMNBCIE.__arch.safmn_bcie", "SAFMN_BCIE", {
        "dim": 16, "n_blocks": 1, "num_layers": 1}),
    "SCUNet": ("SCUNet.__arch.SCUNet", "SCUNet", {"config": [2] * 7, "dim": 64}),
    "SPAN": ("SPAN.__arch.span", "SPAN", {
        "num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}),
    "SeemoRe": ("SeemoRe.__arch.seemore_arch", "SeemoRe", {
        "scale": 2, "num_experts": 2, "num_layers": 1, "embedding_dim": 16}),
    "Swift-SRGAN": ("SwiftSRGAN.__arch.SwiftSRGAN", "Generator", {
        "num_channels": 8, "num_blocks": 1, "upscale_factor": 2}),
    "Swin2SR": ("Swin2SR.__arch.Swin2SR", "Swin2SR", {
        **_WINDOWS, "window_size": 8, "upscale": 2, "upsampler": "pixelshuffledirect"}),
    "SwinIR": ("SwinIR.__arch.SwinIR", "SwinIR", {
        **_WINDOWS, "window_size": 8, "upscale": 2, "upsampler": "pixelshuffle"}),
    "Uformer": ("Uformer.__arch.Uformer", "Uformer", {
        "embed_dim": 8, "depths": [1] * 9, "img_size": 128}),
}  # fmt: skip
"""Module, class and settings."""


class _TooLongError(BaseException):
    """The time is over: not to be taken for a refusal of the network."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooLongError(f"not finished in {SECONDS} s of processor time")


def row(name: str, folder: Path) -> str:
    """What becomes of one architecture, as a row of the table."""
    import torch

    module, kind, settings = SMALL[name]
    torch.manual_seed(2)
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        made = getattr(importlib.import_module(f"spandrel.architectures.{module}"), kind)
        torch.save(made(**settings).state_dict(), folder / f"{name}.pth")
        original = torch_network.open_original(folder / f"{name}.pth", {})
        lowered, _, found = foreign_program.look(original, dynamic=False)
    except W2SExportError as error:
        return f"| {name} | no: {' '.join(str(error).split())} | | |"
    except (_TooLongError, Exception) as error:  # building it, or a bug of ours: the row says which
        return f"| {name} | no ({type(error).__name__}): {' '.join(str(error).split())[:200]} | | |"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    facts = facts_of_any(lowered.graph, scale=lowered.scale, step=found["step"])
    step = lcm(found["step"], facts.step)
    least = -(-found["minimum"] // step) * step
    if found["fixed"]:
        sizes = "×".join(map(str, found["fixed"]))
        return f"| {name} | ×{lowered.scale} | {sizes} | {found['difference']:.0e} |"
    sizes = f"multiples of {step} from {least} on" if step > 1 else f"any from {least} on"
    return f"| {name} | ×{lowered.scale} | {sizes} | {found['difference']:.0e} |"


def main(names: list[str]) -> None:
    """A row per architecture."""
    signal.signal(signal.SIGPROF, _stop)
    with TemporaryDirectory() as folder:
        for name in names or SMALL:
            print(row(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
