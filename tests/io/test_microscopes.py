"""Microscopes' own files.

A CZI is written by Zeiss's library. ND2 and LIF nothing writes: stand-ins answer as the libraries'
documentation says, so only what we make of that is tested.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.io.test_random_files import read
from w2s_export.errors import ImageError, MissingExtraError
from w2s_export.io.images import open_source, opened

RNG = np.random.default_rng(0)


def write_czi(path: Path) -> list[np.ndarray]:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed")
    scenes = [RNG.integers(0, 4000, (2, 3, 2, 20 + s, 30)).astype(np.uint16) for s in range(2)]
    with czi.create_czi(str(path)) as document:
        for scene, pixels in enumerate(scenes):
            for t, z, c in np.ndindex(pixels.shape[:3]):
                document.write(
                    pixels[t, z, c, ..., None], plane={"T": t, "Z": z, "C": c}, scene=scene,
                    location=(100 * scene, 7),
                )  # fmt: skip
        magenta = czi.Rgb8Color(np.uint8(255), np.uint8(0), np.uint8(255))
        shown = czi.ChannelDisplaySettingsDataClass(True, czi.TintingMode.Color, magenta, 0.1, 0.5)
        document.write_metadata(
            "made by Ada", channel_names={0: "DAPI", 1: "GFP"}, scale_x=1e-7, scale_y=2e-7,
            scale_z=3e-7, display_settings={0: shown},
        )  # fmt: skip
    return scenes


def test_every_scene_of_a_czi(tmp_path: Path) -> None:
    scenes = write_czi(tmp_path / "a.czi")
    for got, pixels in zip(read(tmp_path / "a.czi"), scenes, strict=True):
        np.testing.assert_array_equal(got.pixels, pixels)
        assert (got.size, got.z) == ((0.2, 0.1), 0.3)
    with opened(tmp_path / "a.czi") as series:
        assert [one.name for one in series] == ["scene 1", "scene 2"]
    with open_source(tmp_path / "a.czi", 1) as source:
        np.testing.assert_array_equal(
            source.read(1, 2, 0, slice(3, 9), slice(5, 30))[0], scenes[1][1, 2, 0, 3:9, 5:30]
        )
        look = source.layout.appearance
    assert [channel.name for channel in look.channels] == ["DAPI", "GFP"]
    assert look.channels[0].colour == (255, 0, 255)
    assert "made by Ada" in look.text


def test_colours_of_a_czi(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed")
    colours = RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    with czi.create_czi(str(tmp_path / "c.czi")) as document:
        document.write(colours[..., ::-1])  # blue first
    with open_source(tmp_path / "c.czi") as source:
        assert source.layout.samples == 3
        got = source.read(0, 0, 0, slice(0, 20), slice(0, 30))
    np.testing.assert_array_equal(got, np.moveaxis(colours, -1, 0))


def test_a_damaged_czi_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pylibCZIrw.czi", reason="pylibCZIrw is not installed")
    (tmp_path / "d.czi").write_bytes(b"ZISRAWFILE" + bytes(500))
    with pytest.raises(ImageError, match=r"d\.czi.*damaged"), opened(tmp_path / "d.czi"):
        pass


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, kind: str, content: Any) -> None:
    module = ModuleType(name)
    setattr(module, kind, lambda _: content)
    monkeypatch.setitem(sys.modules, name, module)


class Closing(SimpleNamespace):
    def __enter__(self) -> Closing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_positions_of_an_nd2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = RNG.integers(0, 4000, (3, 2, 2, 5, 7)).astype(np.uint16)  # T, P, C, Y, X
    channel = SimpleNamespace(name="GFP", color=SimpleNamespace(r=0, g=255, b=0))
    file = Closing(
        sizes={"T": 3, "P": 2, "C": 2, "Y": 5, "X": 7},
        loop_indices=[{"T": t, "P": p} for t in range(3) for p in range(2)],
        voxel_size=lambda: SimpleNamespace(x=0.1, y=0.2, z=1.0),
        metadata=SimpleNamespace(channels=[SimpleNamespace(channel=channel)] * 2),
        experiment=[SimpleNamespace(type="TimeLoop", parameters=SimpleNamespace(periodMs=2500))],
        dtype=np.uint16,
        read_frame=lambda number: pixels[number // 2, number % 2],
    )
    stand_in(monkeypatch, "nd2", "ND2File", file)
    (tmp_path / "a.nd2").write_bytes(b"x")
    for position, got in enumerate(read(tmp_path / "a.nd2")):
        np.testing.assert_array_equal(got.pixels, pixels[:, position][:, None])
        assert (got.size, got.z, got.t) == ((0.2, 0.1), None, 2.5)
    assert position == 1


def test_series_and_fields_of_a_lif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = RNG.integers(0, 255, (2, 3, 5, 7)).astype(np.uint8)  # M, Z, Y, X
    coords = {"Z": np.arange(3) * -3e-7, "Y": np.arange(5) * 2e-7, "X": np.arange(7) * 1e-7}

    def frame(M: int = 0, Z: int = 0) -> np.ndarray:  # noqa: N803
        return pixels[M, Z]

    mosaic = SimpleNamespace(
        name="tiles", sizes={"M": 2, "Z": 3, "Y": 5, "X": 7}, coords=coords, dtype=np.uint8,
        frame=frame,
    )  # fmt: skip
    lifetimes = SimpleNamespace(
        name="flim", sizes={"H": 9, "Y": 5, "X": 7}, coords={}, dtype=np.uint8, frame=frame
    )
    stand_in(monkeypatch, "liffile", "LifFile", Closing(images=[mosaic, lifetimes]))
    (tmp_path / "a.lif").write_bytes(b"x")
    with opened(tmp_path / "a.lif") as series:
        assert [one.name for one in series] == ["tiles field 1", "tiles field 2", "flim"]
        layout = series[1].open().layout
        assert layout.pixel_size_um == pytest.approx((0.2, 0.1))
        assert layout.z_step_um == pytest.approx(0.3)
        got = series[1].open().read(0, 2, 0, slice(1, 4), slice(0, 7))
        np.testing.assert_array_equal(got[0], pixels[1, 2, 1:4])
        with pytest.raises(ImageError, match="9 along H"):
            series[2].open()


@pytest.mark.parametrize(("ending", "library"), [("czi", "pylibCZIrw.czi"), ("nd2", "nd2"),
                                                 ("lif", "liffile")])  # fmt: skip
def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / f"a.{ending}").write_bytes(b"x")
    with (
        pytest.raises(MissingExtraError, match=r"w2s-export\[microscopes\]"),
        opened(tmp_path / f"a.{ending}"),
    ):
        pass
