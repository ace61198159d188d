"""Writes the golden files of a w2s-tensorflow generator, by an old TensorFlow's own code.

Run in a throw-away environment: Python 3.8 with
`pip install "tensorflow-cpu==2.4.1" "protobuf<3.20" "h5py<3"`:

    python make.py FOLDER

It builds a subclassed Keras 2 model with the attribute and layer names of
https://github.com/mchatton/w2s-tensorflow (`models/RRDBNet.py`), small (nf 8, gc 4, nb 1), random,
biases included, and saves it in the two ways that project does: `save_weights` to HDF5, and a
SavedModel of the generator behind an input layer (`h5topb.py`). The expected output comes from
the same TensorFlow. Nothing of w2s-export is imported.
"""

import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

NF, GC, NB, SLOPE, BETA = 8, 4, 1, 0.2, 0.2


def conv(filters, name=None):
    return tf.keras.layers.Conv2D(filters, 3, padding="same", name=name)


class RDB_5C(tf.keras.layers.Layer):
    def __init__(self, parent):
        # The project gives all three blocks of a parent the same name.
        super().__init__(name=f"RDB_{parent}_{parent}")
        self.conv1, self.conv2, self.conv3, self.conv4 = (conv(GC) for _ in range(4))
        self.conv5 = conv(NF)
        self.lrelu = tf.keras.layers.LeakyReLU(alpha=SLOPE)

    def call(self, x):
        features = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = tf.concat([features, self.lrelu(layer(features))], axis=3)
        return x + BETA * self.conv5(features)


class RRDB(tf.keras.layers.Layer):
    def __init__(self, index):
        super().__init__(name=f"RRDB_{index}")
        self.rdb1, self.rdb2, self.rdb3 = (RDB_5C(index) for _ in range(3))

    def call(self, x):
        return x + BETA * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.conv_first = conv(NF, "conv_first")
        self.RRDB_trunk = [RRDB(index) for index in range(NB)]
        self.trunk_conv = conv(NF, "trunk_conv")
        self.upconv1 = tf.keras.layers.UpSampling2D((2, 2), interpolation="nearest", name="upconv1")
        self.HRconv = conv(NF, "HRconv")
        self.conv_last = conv(1, "conv_last")
        self.lrelu = tf.keras.layers.LeakyReLU(alpha=SLOPE, name="LeakyReLU_generic")

    def call(self, x):
        first = self.conv_first(x)
        trunk = first
        for block in self.RRDB_trunk:
            trunk = block(trunk)
        x = self.lrelu(self.upconv1(first + self.trunk_conv(trunk)))
        return self.conv_last(self.lrelu(self.HRconv(x)))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    x = random.rand(1, 9, 13, 1).astype(np.float32)
    generator = RRDBNet()
    generator.build((1, 16, 16, 1))
    for weight in generator.weights:
        weight.assign(random.normal(0, 0.15, weight.shape))
    np.savez(folder / "io.npz", x=x, y=generator(x).numpy())
    generator.save_weights(str(folder / "generator.h5"))

    image = tf.keras.layers.Input(shape=(None, None, 1))
    wrapped = tf.keras.models.Model(image, generator(image))
    saved = folder / "RRDB_GAN"
    shutil.rmtree(saved, ignore_errors=True)
    wrapped.save(str(saved), save_format="tf")
    with zipfile.ZipFile(folder / "RRDB_GAN.zip", "w") as archive:
        for path in sorted(path for path in saved.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    shutil.rmtree(saved)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
