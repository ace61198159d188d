"""What a check found: a stable code, a place, a sentence, and whom it concerns.

Codes are part of the interface: `report.json` carries them, tests match them, prose may change.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from w2s_export.foreign_text import LONGEST_MESSAGE, shown
from w2s_export.package.opening import OpeningFault


class Severity(str, Enum):
    """Whether a finding makes a package fail."""

    error = "error"
    """A client refuses the package or shows wrong pixels."""
    warning = "warning"
    """It runs; a submission or a user would ask for more."""
    note = "note"
    """Nothing is wrong: something that was not checked, and why."""


class Client(str, Enum):
    """A program that opens packages, in the version its rules were read from and tried in."""

    deepimagej_2_1 = "DeepImageJ 2.1"
    deepimagej_3_0 = "DeepImageJ 3.0"
    deepimagej_3_1 = "DeepImageJ 3.1"
    core_0_10 = "bioimageio.core 0.10.4"
    core_0_11 = "bioimageio.core 0.11"
    zoo = "bioimage.io zoo"


class Code(str, Enum):
    """Every kind of finding."""

    # the zip: why it cannot be opened
    package_absent = OpeningFault.absent.value
    package_unreadable = OpeningFault.not_a_zip.value
    zip_truncated = OpeningFault.truncated.value
    zip_crowded = OpeningFault.crowded.value
    zip_bomb = OpeningFault.bomb.value
    zip_escapes = OpeningFault.escapes.value
    zip_link = OpeningFault.link.value
    zip_encrypted = OpeningFault.encrypted.value
    zip_compression = OpeningFault.compression.value
    zip_duplicate = OpeningFault.duplicate.value
    zip_nested = OpeningFault.nested.value
    rdf_missing = OpeningFault.rdf_missing.value
    rdf_damaged = OpeningFault.rdf_damaged.value
    rdf_too_large = OpeningFault.rdf_too_large.value
    rdf_aliases = OpeningFault.rdf_aliases.value
    rdf_too_deep = OpeningFault.rdf_too_deep.value
    rdf_not_yaml = OpeningFault.rdf_not_yaml.value
    rdf_not_a_mapping = OpeningFault.rdf_not_a_mapping.value
    rdf_long_number = OpeningFault.rdf_long_number.value
    # its files
    file_missing = "file-missing"
    file_damaged = "file-damaged"
    hash_mismatch = "hash-mismatch"
    packages_differ = "packages-differ"
    report_of_another_run = "report-of-another-run"
    # numbers
    weights_unloadable = "weights-unloadable"
    weights_not_run = "weights-not-run"
    output_off_plan = "output-off-plan"
    not_compared = "not-compared"
    output_differs = "output-differs"
    test_input_differs = "test-input-differs"
    test_output_differs = "test-output-differs"
    preprocessing_differs = "preprocessing-differs"
    preprocessing_unsupported = "preprocessing-unsupported"
    sample_differs = "sample-differs"
    sample_blank = "sample-blank"
    macro_differs = "macro-differs"
    halo_differs = "halo-differs"
    seams_visible = "seams-visible"
    # bioimageio.core's own test
    core_test_failed = "core-test-failed"
    core_not_run = "core-not-run"
    core_unavailable = "core-unavailable"
    core_disagrees = "core-disagrees"
    # the verification itself
    internal_error = "internal-error"
    disk_full = "disk-full"
    # description: any format
    rdf_malformed = "rdf-malformed"
    rdf_name = "rdf-name"
    rdf_incomplete = "rdf-incomplete"
    rdf_invalid = "rdf-invalid"
    not_a_model = "not-a-model"
    format_unsupported = "format-unsupported"
    format_newer = "format-newer"
    name_missing = "name-missing"
    name_breaks_macros = "name-breaks-macros"
    nickname_missing = "nickname-missing"
    processing_unknown = "processing-unknown"
    processing_per_channel = "processing-per-channel"
    preprocessing_without_macro = "preprocessing-without-macro"
    macro_without_preprocessing = "macro-without-preprocessing"
    several_inputs = "several-inputs"
    several_outputs = "several-outputs"
    test_size_off_grid = "test-size-off-grid"
    test_output_size = "test-output-size"
    processing_fails = "processing-fails"
    test_tensor_missing = "test-tensor-missing"
    test_tensor_invalid = "test-tensor-invalid"
    batch_missing = "batch-missing"
    output_fixed_size = "output-fixed-size"
    jdll_incomplete = "jdll-incomplete"
    jdll_drops = "jdll-drops"
    jdll_throws = "jdll-throws"
    # weights
    weights_unsupported = "weights-unsupported"
    weights_in_folder = "weights-in-folder"
    tensorflow_first = "tensorflow-first"
    python_runner = "python-runner"
    onnx_unreadable = "onnx-unreadable"
    onnx_ir_too_new = "onnx-ir-too-new"
    onnx_opset_too_new = "onnx-opset-too-new"
    onnx_opset_undeclared = "onnx-opset-undeclared"
    onnx_input_type = "onnx-input-type"
    output_type_differs = "output-type-differs"
    onnx_not_one_tensor = "onnx-not-one-tensor"
    onnx_order = "onnx-order"
    onnx_external_data = "onnx-external-data"
    onnx_custom_operators = "onnx-custom-operators"
    onnx_fixed_size = "onnx-fixed-size"
    onnx_fixed_batch = "onnx-fixed-batch"
    tensorflow_alone = "tensorflow-alone"
    saved_model_layout = "saved-model-layout"
    saved_model_tag = "saved-model-tag"
    saved_model_signature = "saved-model-signature"
    saved_model_names = "saved-model-names"
    saved_model_endpoint = "saved-model-endpoint"
    saved_model_fixed_batch = "saved-model-fixed-batch"
    saved_model_too_new = "saved-model-too-new"
    tensorflow_version_missing = "tensorflow-version-missing"
    tensorflow_version_unknown = "tensorflow-version-unknown"
    # shapes
    axes_order = "axes-order"
    axes_not_the_weights = "axes-not-the-weights"
    input_fixed_size = "input-fixed-size"
    image_too_large = "image-too-large"
    minimum_off_step = "minimum-off-step"
    output_reference = "output-reference"
    output_scale_ambiguous = "output-scale-ambiguous"
    output_scale_truncated = "output-scale-truncated"
    output_offset = "output-offset"
    halo_odd = "halo-odd"
    halo_on_input = "halo-on-input"
    halo_too_large = "halo-too-large"
    channel_names_missing = "channel-names-missing"
    # config.deepimagej
    deepimagej_missing = "deepimagej-missing"
    deepimagej_tiling = "deepimagej-tiling"
    deepimagej_pyramidal = "deepimagej-pyramidal"
    deepimagej_model_keys = "deepimagej-model-keys"
    deepimagej_macros = "deepimagej-macros"
    macro_argument = "macro-argument"
    macro_histogram = "macro-histogram"
    macro_not_ascii = "macro-not-ascii"
    deepimagej_test_information = "deepimagej-test-information"
    deepimagej_memory_peak = "deepimagej-memory-peak"
    # submission
    zip_not_flat = "zip-not-flat"
    upload_breaks = "upload-breaks"
    documents_as_mappings = "documents-as-mappings"
    metadata_incomplete = "metadata-incomplete"
    license_unknown = "license-unknown"
    readme_validation = "readme-validation"
    cover_unsuitable = "cover-unsuitable"
    tolerance_relaxed = "tolerance-relaxed"
    id_set = "id-set"
    run_mode_set = "run-mode-set"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or was not checked."""

    code: Code
    where: str
    """File or field of the package, e.g. `weights.onnx.source`."""
    message: str
    """What is wrong and what was got."""
    severity: Severity = Severity.error
    clients: tuple[Client, ...] = ()
    """Who minds; empty where nobody could use such a package."""
    remedy: str = ""
    """What to do."""
    because: str = ""
    """The client's demand, quoted."""
    package: str = ""
    """Name of the zip."""
    format: str = ""
    """Weights format it is about, a key of the rdf's `weights`; empty for the whole package."""
    case: str = ""
    """Input it showed on, e.g. `test tensors`."""

    def __post_init__(self) -> None:
        # Both may hold text of the package, which may steer a terminal or have no end.
        object.__setattr__(self, "where", shown(self.where))
        object.__setattr__(self, "message", shown(self.message, LONGEST_MESSAGE, lines=True))

    def concerns(self, client: Client) -> bool:
        """Whether the client minds."""
        return client in self.clients or not self.clients


def internal_error(check: str, error: Exception, **about: Any) -> Finding:
    """A check of ours that broke: our bug, never the package's fault."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
    reason = " ".join(str(error).split())[:200]
    return Finding(
        Code.internal_error,
        check,
        f"the check itself failed: {type(error).__name__} at {place}: {reason}",
        Severity.warning,
        remedy="this is a bug of w2s-export, not of the package: report it with the package",
        **about,
    )
