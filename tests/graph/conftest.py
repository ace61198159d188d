"""Networks are converted as the formats' tests convert them."""

from tests.formats.conftest import converted, plain  # noqa: F401
