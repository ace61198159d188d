"""Descriptions are made as the packages' tests make them."""

from tests.package.conftest import (  # noqa: F401
    TINY,
    Describe,
    describe,
    description,
    good_zip,
    real_description,
)
from tests.verify.conftest import good  # noqa: F401
