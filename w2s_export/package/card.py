"""The package's README.md: what the model does, how to run it, what was measured."""

from __future__ import annotations

from string import Template

from w2s_export.config import PercentileNormalisation
from w2s_export.counting import counted
from w2s_export.data.normalise import in_words
from w2s_export.foreign_text import markdown, shown
from w2s_export.formats import cpu_fast, saved_model
from w2s_export.formats.registry import format_of
from w2s_export.graph.model import OUTPUT_ID
from w2s_export.network import seams_in_words
from w2s_export.rdf import description as files
from w2s_export.rdf.description import Description
from w2s_export.rdf.metadata import Citation
from w2s_export.rdf.model_card import LIMITS
from w2s_export.rdf.whole_image import MEMORIES_GB, whole_image_memory
from w2s_export.resources import asset

_CPU_FAST = (
    f" The attachment `{cpu_fast.FILE}` is the same network in fewer multiplications, for "
    "`w2s-export restore --cpu-fast`."
)


def write_card(description: Description) -> str:
    """Fill the template. The same description gives the same text."""
    template = asset("bioimageio/templates/README.md").read_text(encoding="utf-8")
    metadata = description.metadata
    normalisation = description.network.normalisation
    name = description.name
    return Template(template).substitute(
        name=name,
        description=markdown(metadata.description),
        about=_about(description),
        cover=files.COVER,
        channels=counted(description.network.channels_in, "channel"),
        sizes=_sizes(description),
        pixel_size=_pixel_size(description),
        normalisation=in_words(normalisation),
        times=f"{description.scale}×" if description.scale > 1 else "just",
        file_name=name,
        output_id=OUTPUT_ID,
        **_deepimagej_3(description),
        deepimagej_2=_deepimagej_2(description),
        data=markdown(metadata.data) or "Not stated.",
        attribution=f"{markdown(metadata.attribution)}\n" if metadata.attribution else "",
        scores=_scores(description),
        limitations=markdown(metadata.limitations) or LIMITS,
        sample_name=f", {markdown(description.sample.name)}" if description.sample.name else "",
        parity=_parity(description),
        half=_half(description),
        tiles=_tiles(description),
        notes=f"\n## Notes\n\n{markdown(metadata.notes)}\n" if metadata.notes else "",
        license=markdown(metadata.license or "Not stated."),
        cite="\n".join(_citation(entry) for entry in metadata.cite),
    )


def _deepimagej_3(description: Description) -> dict[str, str]:
    """What DeepImageJ 3.1 needs and does, in numbers of this network."""
    memory, scale = whole_image_memory(description.network), description.scale
    first, *more = MEMORIES_GB
    largest = f"{memory.largest_image(first)} on a computer with {first} GB"
    for size in more:
        largest += f", {memory.largest_image(size)} with {size} GB"
    return {
        "gb_per_megapixel": f"{memory.gb_per_megapixel:.2g}",
        "megapixels": largest,
        "hangs": f"{memory.largest_megapixels:.1f}",
        "scaled": f", divided by {scale}" if scale > 1 else "",
        "voxels": f"width / {scale}, height / {scale}" if scale > 1 else "width, height",
        "difference": _difference(description),
    }


def _difference(description: Description) -> str:
    why = "This version mirrors the image at its border, where the source sees zeros"
    if isinstance(description.network.normalisation, PercentileNormalisation):
        why += ", and takes percentiles by rank"
    found = description.in_deepimagej_3
    if found is None:
        return f"{why}."
    return (
        f"{why}. Computed for this network and sample: up to {found.inside:.1e} of the output's "
        f"range, and up to {found.at_border:.1e} within {found.border} pixels of the border."
    )


def _deepimagej_2(description: Description) -> str:
    """How DeepImageJ 2.1 and 3.0 run it: they know TensorFlow alone."""
    if saved_model.FILE not in description.weights:
        return "Not with this package: these versions need a SavedModel, and it holds none."
    normalised = description.network.normalisation is not None
    template = asset("bioimageio/templates/deepimagej_2.md").read_text(encoding="utf-8")
    return Template(template.strip()).substitute(
        file_name=description.name,
        # The recorder brackets a value that holds a blank, and 2.1 unwraps only such a value.
        macro_name=_bracketed(description.name),
        preprocessing=_bracketed(files.PREPROCESSING if normalised else "no preprocessing"),
        postprocessing=files.POSTPROCESSING,
        tile=_tile(description),
        twice_halo=2 * description.halo.halo,
    )


def _about(description: Description) -> str:
    network = description.network
    family = ", the generator of ESRGAN" if network.checkpoint is not None else ""
    titles = [format_of(artifact.format).TITLE for artifact in description.weights.values()]
    held = (
        f"twice, as {' and as '.join(titles)}, with the same weights"
        if len(titles) > 1
        else (f"as {titles[0]}")
    )
    enlarged = f", {network.scale}× enlargement" if network.scale > 1 else ""
    return (
        f"The network is {markdown(network.architecture)}{family}: "
        f"{counted(network.channels_in, 'channel')} in, {network.channels_out} out{enlarged}. The "
        f"package holds it {held}.{_CPU_FAST * bool(description.attached)}"
    )


def _sizes(description: Description) -> str:
    """Which images the clients can restore."""
    if (fixed := description.network.fixed) is not None:
        return (
            f"cut into tiles of exactly {fixed[0]}×{fixed[1]} pixels, the only size that the "
            f"network reads. Give images of at least that size; `w2s-export restore` mirrors "
            "smaller ones"
        )
    step = description.step
    multiples = f", multiples of {step} (`w2s-export restore` pads others)" if step > 1 else ""
    return f"of any height and width from {description.minimum} pixels{multiples}"


def _bracketed(value: str) -> str:
    return f"[{value}]" if " " in value else value


def _pixel_size(description: Description) -> str:
    trained = description.network.provenance.pixel_size_um
    if trained is not None:
        return (
            f"- A pixel size near {trained:.4g} µm, as in training; rescale other images first. "
            f"The output's pixels are {trained / description.scale:.4g} µm.\n"
        )
    sample = description.sample.pixel_size_um
    if sample is None:
        return ""
    return (
        f"- A pixel size near that of the training images, which is not recorded; the sample's "
        f"pixels are {sample:.4g} µm, its output's {sample / description.scale:.4g} µm.\n"
    )


def _tile(description: Description) -> str:
    """Height, width, channels: the sample in one tile, halo included.

    DeepImageJ 2.1 mirrors an image at most once on each side, so a tile is at most three times it.
    """
    sides = []
    for length in description.sample.image.shape[1:]:
        if description.network.fixed is not None:
            sides.append(length)
            continue
        wanted = min(length + 2 * description.halo.halo, 3 * length)
        sides.append(wanted // description.step * description.step)
    return ",".join(str(side) for side in (*sides, description.network.channels_in))


def _scores(description: Description) -> str:
    # Those of the validation chose the weights, so they flatter.
    scores = {
        name: value
        for name, value in description.network.provenance.scores.items()
        if not name.startswith("validation_") and name != "fields"
    }
    if not scores:
        return ""
    rows = "\n".join(f"| {_score_name(name)} | {value:.4g} |" for name, value in scores.items())
    return (
        "\nMean scores on fields that took no part in training:\n\n"
        f"| score | value |\n|---|---|\n{rows}\n"
    )


def _score_name(key: str) -> str:
    """`psnr_bicubic_db` → `PSNR bicubic (dB)`."""
    written = {"psnr": "PSNR", "ssim": "SSIM", "db": "(dB)"}
    return markdown(" ".join(written.get(word, word) for word in key.split("_")))


def _parity(description: Description) -> str:
    if not description.parity:
        return "Not measured."
    rows = "\n".join(
        f"| {markdown(row.subject)} | {markdown(row.case)} | {'×'.join(map(str, row.shape))} | "
        f"{row.max_abs:.2g} | "
        f"{row.max_relative:.2g} | {'∞' if row.psnr_db == float('inf') else f'{row.psnr_db:.1f}'} |"
        for row in description.parity
    )
    return (
        "| format | case | output | max abs. difference | part of the range | PSNR (dB) |\n"
        f"|---|---|---|---|---|---|\n{rows}"
    )


def _half(description: Description) -> str:
    if (error := description.half) is None:
        return (
            "Not measured: that takes OpenVINO and a processor with AMX or AVX512-BF16, or a GPU, "
            "where the package is written."
        )
    refused = "" if error.allowed else ", which it refuses"
    return f"`w2s-export restore --precision 16` gives the sample {error}{refused}."


def _tiles(description: Description) -> str:
    halo = description.halo
    if halo.halo == 0 and halo.visible is None:
        return "Tiles need no overlap."
    if halo.visible is not None:
        why = seams_in_words(halo.halo, halo.visible)
        sentence = f"No overlap makes tiles of this network exact: {why}. Avoid tiles."
    else:
        sentence = (
            f"A tile needs {halo.halo} input pixels of context on each side "
            f"({description.output_halo} output pixels, the halo in `rdf.yaml`): the smallest that "
            f"keeps seams within {halo.tolerance:.1g} of the output's range."
        )
    steps = {halo.halo * part // 4 for part in range(5)}
    rows = "\n".join(f"| {tried} | {seam:.2g} |" for tried, seam in halo.seams if tried in steps)
    if not rows:
        return sentence
    header = "| context (input pixels) | largest seam, part of the range |\n|---|---|"
    return f"{sentence}\n\n{header}\n{rows}"


def _citation(entry: Citation) -> str:
    link = f"https://doi.org/{entry.doi}" if entry.doi else entry.url
    return f"- {markdown(entry.text)} <{_address(link)}>"


def _address(link: str | None) -> str:
    return shown(link or "", 2048).replace("<", "%3C").replace(">", "%3E")
