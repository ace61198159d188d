"""What every test process starts with."""

import os

# `export` sets it too, but a process that has loaded TensorFlow before does not heed it: with
# oneDNN the same input does not always give the same bytes.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
