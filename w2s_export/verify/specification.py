"""The specification's own validator, which bioimageio.core runs before anything else."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from pydantic import ValidationError

from w2s_export.package.opening import OpenedPackage
from w2s_export.verify.findings import Client, Code, Finding, Severity

_CLIENTS = (Client.core_0_10, Client.core_0_11, Client.zoo)
_BECAUSE = "bioimageio.core refuses a description that bioimageio.spec calls invalid."
_SPEC = "bioimageio.spec"
_MOST = 10


def check_specification(package: OpenedPackage) -> list[Finding]:
    """What bioimageio.spec says of the description, as installed; it opens no file and no address.

    A note where it does not work here, which says nothing of the package.
    """
    try:
        with _without_collection():
            from bioimageio.spec import ValidationContext, build_description
    except Exception as error:  # any at all, of any library that it imports
        broken = f"cannot be imported: {type(error).__name__}: {error}"
        mend = "mend the environment, then verify again"
        return [_finding(package, Code.core_unavailable, _SPEC, broken, mend, "", Severity.note)]
    # Told to collect errors, it draws each of its own failures as a picture of the traceback.
    context = ValidationContext(
        perform_io_checks=False, update_hashes=False, log_warnings=False, raise_errors=True
    )
    try:
        description = build_description(_plain(package.rdf), context=context)
        return _test_tensors(package, description)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        found = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in faults]
    except MemoryError:
        raise  # not the description's doing
    except Exception as error:  # the validator stumbles over what it should refuse
        found = [(package.rdf_name, f"{type(error).__name__}: {error}")]
    remedy = "write what the specification asks for"
    return [
        _finding(package, Code.rdf_invalid, where or package.rdf_name, message, remedy, _BECAUSE)
        for where, message in (found or [("", "invalid")])[:_MOST]
    ]


def _finding(
    package: OpenedPackage,
    code: Code,
    where: str,
    message: str,
    remedy: str,
    because: str,
    severity: Severity = Severity.error,
) -> Finding:
    said, name = " ".join(message.split())[:300], package.path.name
    return Finding(code, where, said, severity, _CLIENTS, remedy, because, package=name)


def import_in_haste() -> None:
    """Import the validator in six tenths of the time, in a process that does nothing else with it.

    Its classes build their validators when first used, and keep no descriptions of their fields:
    that is so for good, so a library must not call this. Where pydantic has become another, the
    import only takes longer.
    """
    try:
        from pydantic import BaseModel, ConfigDict
        from pydantic._internal import _fields
    except ImportError:  # another pydantic
        return
    described, config = "extract_docstrings_from_cls", BaseModel.model_config
    describe = getattr(_fields, described, None)
    setattr(_fields, described, lambda *_, **__: {})
    BaseModel.model_config = ConfigDict(defer_build=True)
    try:
        with _without_collection(), suppress(Exception):  # `check_specification` says what fails
            import bioimageio.spec  # noqa: F401
    finally:
        setattr(_fields, described, describe)
        BaseModel.model_config = config


@contextmanager
def _without_collection() -> Iterator[None]:
    """Import without looking for garbage meanwhile: a tenth faster."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _test_tensors(package: OpenedPackage, description: Any) -> list[Finding]:
    """What the specification says of the test tensors of format 0.5: sizes, types, values.

    `validate_tensors` as its own I/O checks call it, on files that are read here, bounded.
    """
    try:
        from bioimageio.spec.model.v0_5 import ModelDescr, validate_tensors
    except ImportError:
        return []
    if not isinstance(description, ModelDescr):
        return []
    tensors = {}
    for tensor in (*description.inputs, *description.outputs):
        name = None if tensor.test_tensor is None else str(tensor.test_tensor.source)
        try:
            data = package.read(name.removeprefix("./")) if name else None
            array = None if data is None else np.load(io.BytesIO(data), allow_pickle=False)
        except Exception:  # missing, large or no array, which has its own finding
            return []
        tensors[tensor.id] = (tensor, array)
    try:
        options: dict[str, Any] = {"pad_inputs": "allow", "crop_outputs": "allow"}
        validate_tensors(tensors, tensor_origin="test_tensor", **options)
    except MemoryError:
        raise  # not the tensors' doing
    except Exception as error:
        remedy = "give test tensors as the description says they are"
        because = "bioimageio.core checks them as bioimageio.spec does (validate_tensors)."
        code, where = Code.test_tensor_invalid, "test tensors"
        return [_finding(package, code, where, str(error), remedy, because)]
    return []


def _plain(value: Any) -> Any:
    """A copy: the validator may edit what it is given."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
