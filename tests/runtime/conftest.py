"""Networks are converted as the formats' tests convert them."""

from tests.formats.conftest import converted, plain  # noqa: F401
from tests.restore.conftest import box_network, box_onnx  # noqa: F401
