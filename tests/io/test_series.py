"""Every image of a file: series, positions, sets of files, plates; never a thumbnail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from w2s_export.errors import ImageError
from w2s_export.io.images import open_source, opened, read_image
from w2s_export.io.source import arrangement

RNG = np.random.default_rng(0)


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 4000, shape).astype(np.uint16)


def pixels_of(path: Path) -> list[np.ndarray]:
    """Every image of a file, (T, Z, C, H, W), by its parts."""
    found = []
    with opened(path) as series:
        for one in series:
            source = one.open()
            rows, columns = slice(0, source.layout.height), slice(0, source.layout.width)
            planes = [
                source.read(*place, rows, columns) for place in np.ndindex(source.layout.planes)
            ]
            found.append(np.reshape(planes, (*source.layout.planes, *planes[0].shape[-2:])))
    return found


def names_of(path: Path) -> list[str]:
    with opened(path) as series:
        return [one.name for one in series]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_series_of_an_ome_tiff(tmp_path: Path, compression: str | None) -> None:
    images = [picture(20, 30), picture(2, 3, 16, 18), picture(5, 12, 14)]
    axes = ["YX", "TZYX", "CYX"]
    with tifffile.TiffWriter(tmp_path / "s.ome.tif", ome=True) as writer:
        for number, (image, letters) in enumerate(zip(images, axes, strict=True)):
            metadata = {"axes": letters, "Name": f"position {number}"}
            writer.write(
                image, photometric="minisblack", compression=compression, metadata=metadata
            )
    got = pixels_of(tmp_path / "s.ome.tif")
    for image, shape, read in zip(images, [(1, 1, 1), (2, 3, 1), (1, 1, 5)], got, strict=True):
        np.testing.assert_array_equal(read, image.reshape(*shape, *image.shape[-2:]))
    assert names_of(tmp_path / "s.ome.tif") == [f"position {number}" for number in range(3)]
    np.testing.assert_array_equal(read_image(tmp_path / "s.ome.tif").pixels[0, 0], images[0])


def test_thumbnails_masks_and_pyramids_are_no_images(tmp_path: Path) -> None:
    image, other = picture(64, 80), picture(40, 40)
    with tifffile.TiffWriter(tmp_path / "t.tif") as writer:
        writer.write(image[::4, ::4], subfiletype=1, metadata=None)
        writer.write(image, subifds=2, tile=(16, 16), metadata=None)
        writer.write(image[::2, ::2], subfiletype=1, tile=(16, 16), metadata=None)
        writer.write(image[::4, ::4], subfiletype=1, tile=(16, 16), metadata=None)
        writer.write(image > 9, subfiletype=4, photometric="minisblack", metadata=None)
        writer.write(other, metadata=None)
    first, second = pixels_of(tmp_path / "t.tif")
    np.testing.assert_array_equal(first[0, 0, 0], image)
    np.testing.assert_array_equal(second[0, 0, 0], other)
    np.testing.assert_array_equal(read_image(tmp_path / "t.tif").pixels[0, 0], image)


@pytest.mark.parametrize(
    ("axes", "shape", "planes"),
    [
        ("QQYX", (2, 3, 5, 7), (2, 3, 1)),
        ("IYX", (4, 5, 7), (1, 4, 1)),
        ("ZYX", (4, 5, 7), (1, 4, 1)),
        ("TZCYX", (2, 3, 4, 5, 7), (2, 3, 4)),
        ("CZTYX", (4, 3, 2, 5, 7), (2, 3, 4)),
        ("QQQYX", (2, 3, 4, 5, 7), (6, 4, 1)),
        ("QTZYX", (2, 3, 4, 5, 7), (6, 4, 1)),
        ("ICYX", (2, 4, 5, 7), (1, 2, 4)),
        ("AZYX", (2, 4, 5, 7), (2, 4, 1)),
    ],
)
def test_axes_of_any_kind(axes: str, shape: tuple[int, ...], planes: tuple[int, ...]) -> None:
    assert arrangement(shape, axes)[1] == planes


def test_a_plain_4d_stack_is_the_same_to_both_readers(tmp_path: Path) -> None:
    stack = picture(2, 3, 20, 30)
    tifffile.imwrite(tmp_path / "q.tif", stack, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "q.tif") as tif:
        assert tif.series[0].axes == "QQYX"
    np.testing.assert_array_equal(pixels_of(tmp_path / "q.tif")[0][:, :, 0], stack)
    np.testing.assert_array_equal(
        read_image(tmp_path / "q.tif").pixels[:, 0], stack.reshape(6, 20, 30)
    )


# ---- sets of files ----

HEAD = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">'
UUIDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2)]


def image_xml(number: int, blocks: str, channels: int = 1) -> str:
    return (
        f'<Image ID="Image:{number}" Name="p{number}"><Pixels ID="Pixels:{number}" SizeX="30" '
        f'SizeY="20" SizeZ="1" SizeC="{channels}" SizeT="1" Type="uint16" DimensionOrder="XYCZT" '
        f'PhysicalSizeX="0.1" PhysicalSizeY="0.1">{blocks}</Pixels></Image>'
    )


def block(file: str, uuid: str, channel: int = 0) -> str:
    return (
        f'<TiffData IFD="0" PlaneCount="1" FirstC="{channel}"><UUID FileName="{file}">'
        f"urn:uuid:{uuid}</UUID></TiffData>"
    )


def write_set(folder: Path, names: list[str], images: str) -> list[np.ndarray]:
    """Files of one plane each, every one with the header of the whole set."""
    planes = [picture(20, 30) for _ in names]
    for name, uuid, plane in zip(names, UUIDS, planes, strict=True):
        xml = HEAD.format(own=uuid) + images + "</OME>"
        tifffile.imwrite(folder / name, plane, description=xml, metadata=None)
    return planes


def test_positions_in_files_of_their_own(tmp_path: Path) -> None:
    names = ["p0.ome.tif", "p1.ome.tif"]
    xml = "".join(image_xml(i, block(name, UUIDS[i])) for i, name in enumerate(names))
    planes = write_set(tmp_path, names, xml)
    for name, homes in zip(names, (["", "p1.ome.tif"], ["p0.ome.tif", ""]), strict=True):
        for read, plane in zip(pixels_of(tmp_path / name), planes, strict=True):
            np.testing.assert_array_equal(read[0, 0, 0], plane)
        with opened(tmp_path / name) as series:
            assert [one.home for one in series] == homes
    (tmp_path / "p1.ome.tif").unlink()
    with opened(tmp_path / "p0.ome.tif") as series:
        np.testing.assert_array_equal(
            series[0].open().read(0, 0, 0, slice(0, 20), slice(0, 30))[0], planes[0]
        )
        with pytest.raises(ImageError, match=r"1 of its 1 plane in other files.*p1\.ome\.tif"):
            series[1].open()


def test_channels_in_files_of_their_own(tmp_path: Path) -> None:
    names = ["c0.ome.tif", "c1.ome.tif"]
    blocks = "".join(block(name, UUIDS[c], c) for c, name in enumerate(names))
    planes = write_set(tmp_path, names, image_xml(0, blocks, channels=2))
    for name in names:
        (read,) = pixels_of(tmp_path / name)
        np.testing.assert_array_equal(read[0, 0], planes)
    for other in ("../c1.ome.tif", str(tmp_path / "c1.ome.tif"), "sub/c1.ome.tif"):
        blocks = block("c0.ome.tif", UUIDS[0]) + block(other, UUIDS[1], 1)
        (tmp_path / "sub").mkdir(exist_ok=True)
        write_set(tmp_path, ["c0.ome.tif", "c1.ome.tif"], image_xml(0, blocks, channels=2))
        (tmp_path / "sub" / "c1.ome.tif").write_bytes((tmp_path / "c1.ome.tif").read_bytes())
        with opened(tmp_path / "c0.ome.tif") as series, pytest.raises(ImageError, match="1 of its"):
            series[0].open()


def test_a_file_that_does_not_belong_to_the_set_is_not_read(tmp_path: Path) -> None:
    names = ["c0.ome.tif", "c1.ome.tif"]
    blocks = block(names[0], UUIDS[0]) + block(names[1], UUIDS[1], 1)
    write_set(tmp_path, names, image_xml(0, blocks, channels=2))
    tifffile.imwrite(tmp_path / "c1.ome.tif", picture(20, 30), metadata=None)  # no OME inside
    with (
        opened(tmp_path / "c0.ome.tif") as series,
        pytest.raises(ImageError, match=r"c1\.ome\.tif"),
    ):
        series[0].open()


def test_a_stub_refers_to_its_header(tmp_path: Path) -> None:
    names = ["c0.ome.tif", "c1.ome.tif"]
    blocks = "".join(block(name, UUIDS[c], c) for c, name in enumerate(names))
    planes = write_set(tmp_path, names, image_xml(0, blocks, channels=2))
    stub = f'<BinaryOnly MetadataFile="c0.ome.tif" UUID="urn:uuid:{UUIDS[0]}"/></OME>'
    tifffile.imwrite(
        tmp_path / "c1.ome.tif", planes[1], description=HEAD.format(own=UUIDS[1]) + stub,
        metadata=None,
    )  # fmt: skip
    for name in names:
        np.testing.assert_array_equal(pixels_of(tmp_path / name)[0][0, 0], planes)


def test_a_header_beside_its_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The companion file of a set names its members; a stub without it says what is lost."""
    names = ["c0.ome.tif", "c1.ome.tif"]
    blocks = "".join(block(name, UUIDS[c], c) for c, name in enumerate(names))
    header = HEAD.format(own="f" * 32) + image_xml(0, blocks, channels=2) + "</OME>"
    (tmp_path / "s.companion.ome").write_text(header, "utf-8")
    planes = []
    for name, uuid in zip(names, UUIDS, strict=True):
        planes.append(picture(20, 30))
        stub = HEAD.format(own=uuid) + '<BinaryOnly MetadataFile="s.companion.ome" UUID="x"/></OME>'
        tifffile.imwrite(tmp_path / name, planes[-1], description=stub, metadata=None)
    for name in names:
        np.testing.assert_array_equal(pixels_of(tmp_path / name)[0][0, 0], planes)
    with (
        pytest.raises(ImageError, match=r"header of a set.*c0\.ome\.tif, c1\.ome\.tif"),
        opened(tmp_path / "s.companion.ome"),
    ):
        pass
    (tmp_path / "s.companion.ome").unlink()
    np.testing.assert_array_equal(pixels_of(tmp_path / "c1.ome.tif")[0][0, 0], planes[1:])
    assert "s.companion.ome, which is not beside it" in caplog.text


def test_pages_that_the_header_leaves_out_are_named(tmp_path: Path) -> None:
    xml = HEAD.format(own=UUIDS[0]) + image_xml(0, "<TiffData/>") + "</OME>"
    with tifffile.TiffWriter(tmp_path / "l.ome.tif") as writer:
        writer.write(picture(20, 30), description=xml, metadata=None)
        writer.write(picture(5, 7), subfiletype=1, metadata=None)
        for _ in range(2):
            writer.write(picture(20, 30), metadata=None)
    with opened(tmp_path / "l.ome.tif") as series:
        assert len(series) == 2
        series[0].open()
        with pytest.raises(ImageError, match="2 of its pages are in no image"):
            series[1].open()


@pytest.mark.parametrize("order", ["XYCZT", "XYTZC", "XYZCT", "XYZTC", "XYCTZ", "XYTCZ"])
def test_planes_by_dimension_order_and_single_blocks(tmp_path: Path, order: str) -> None:
    """Each plane's page told by `DimensionOrder`, and by a block per plane in reverse."""
    stack = picture(2, 3, 4, 6, 8)
    xml = (
        HEAD.format(own=UUIDS[0]) + '<Image ID="Image:0"><Pixels ID="Pixels:0" SizeX="8" SizeY="6" '
        f'SizeT="2" SizeZ="3" SizeC="4" Type="uint16" DimensionOrder="{order}">'
        "{blocks}</Pixels></Image></OME>"
    )
    turned = stack.transpose(*("TZC".index(axis) for axis in reversed(order[2:])), 3, 4)
    pages = turned.reshape(-1, 6, 8)
    path = tmp_path / "o.ome.tif"
    tifffile.imwrite(path, pages, description=xml.format(blocks="<TiffData/>"), metadata=None,
                     photometric="minisblack")  # fmt: skip
    np.testing.assert_array_equal(pixels_of(path)[0], stack)
    places = list(np.ndindex(2, 3, 4))
    blocks = "".join(
        f'<TiffData FirstT="{t}" FirstZ="{z}" FirstC="{c}" IFD="{number}"/>'
        for number, (t, z, c) in enumerate(reversed(places))
    )
    tifffile.imwrite(
        path, np.stack([stack[place] for place in reversed(places)]), metadata=None,
        description=xml.format(blocks=blocks), photometric="minisblack",
    )  # fmt: skip
    np.testing.assert_array_equal(pixels_of(path)[0], stack)


def test_document_types_are_refused(tmp_path: Path) -> None:
    xml = '<!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + HEAD.format(own=UUIDS[0])
    xml += image_xml(0, "<TiffData/>").replace("p0", "&a;") + "</OME>"
    tifffile.imwrite(tmp_path / "d.ome.tif", picture(20, 30), description=xml, metadata=None)
    with pytest.raises(ImageError, match="document type"):
        read_image(tmp_path / "d.ome.tif")


def test_a_broken_header_leaves_a_plain_tiff(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plane = picture(20, 30)
    tifffile.imwrite(tmp_path / "b.ome.tif", plane, description="<OME><Image></OME>", metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "b.ome.tif").pixels[0, 0], plane)
    assert "its OME header is no XML" in caplog.text


# ---- Zarr ----

zarr = pytest.importorskip("zarr", reason="zarr is not installed")


def put_image(group: object, name: str, pixels: np.ndarray, version: str = "0.4") -> None:
    image = group.require_group(name) if name else group  # type: ignore[attr-defined]
    image.create_array("0", data=pixels, chunks=(1, 1, 1, 16, 16))
    datasets = [{"path": "0"}]
    scales = [{"version": version, "datasets": datasets, "axes": list("tczyx")}]
    if version == "0.5":
        image.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    else:
        image.attrs["multiscales"] = scales


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("listed", [True, False])
def test_series_of_a_converted_file(tmp_path: Path, version: str, listed: bool) -> None:
    root = zarr.open_group(str(tmp_path / "c.zarr"), zarr_format=2 if version == "0.4" else 3)
    images = [picture(1, 2, 1, 20, 30), picture(1, 1, 1, 16, 16), picture(2, 1, 1, 9, 9)]
    names = ["2", "10", "0"] if listed else ["0", "2", "10"]
    for name, image in zip(names, images, strict=True):
        put_image(root, name, image, version)
    layout = {"bioformats2raw.layout": 3}
    root.attrs.update({"ome": {"version": "0.5", **layout}} if version == "0.5" else layout)
    if listed:
        root.create_group("OME").attrs.update(
            {"ome": {"version": "0.5", "series": names}} if version == "0.5" else {"series": names}
        )
    assert names_of(tmp_path / "c.zarr") == names
    for image, read in zip(images, pixels_of(tmp_path / "c.zarr"), strict=True):
        np.testing.assert_array_equal(read, image.swapaxes(1, 2))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_fields_of_a_plate(tmp_path: Path, version: str) -> None:
    root = zarr.open_group(str(tmp_path / "p.zarr"), zarr_format=2 if version == "0.4" else 3)
    wells = ["A/1", "A/2", "B/1"]
    images: list[np.ndarray] = []

    def describe(group: object, what: str, content: dict) -> None:
        named = {"ome": {"version": "0.5", what: content}} if version == "0.5" else {what: content}
        group.attrs.update(named)  # type: ignore[attr-defined]

    describe(root, "plate", {"wells": [{"path": path} for path in wells]})
    for path in wells:
        well = root.create_group(path)
        describe(well, "well", {"images": [{"path": "0"}, {"path": "1"}]})
        for name in "01":
            images.append(picture(1, 1, 1, 12, 10))
            put_image(well, name, images[-1], version)
    assert names_of(tmp_path / "p.zarr") == [f"{well}/{name}" for well in wells for name in "01"]
    for image, read in zip(images, pixels_of(tmp_path / "p.zarr"), strict=True):
        np.testing.assert_array_equal(read, image)


def test_several_multiscales_of_one_group(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "m.zarr"), zarr_format=2)
    images = [picture(1, 1, 1, 8, 8), picture(1, 1, 1, 9, 9)]
    for name, image in zip("ab", images, strict=True):
        root.create_array(name, data=image)
    root.attrs["multiscales"] = [{"name": n, "datasets": [{"path": n}]} for n in "ab"]
    assert names_of(tmp_path / "m.zarr") == ["a", "b"]
    for image, read in zip(images, pixels_of(tmp_path / "m.zarr"), strict=True):
        np.testing.assert_array_equal(read, image)


def test_the_largest_level_is_the_image(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "m.zarr"), zarr_format=2)
    image = picture(20, 30)
    root.create_array("0", data=image[::2, ::2])
    root.create_array("1", data=image)
    scales = [[{"type": "scale", "scale": [size, size]}] for size in (0.4, 0.2)]
    datasets = [
        {"path": str(n), "coordinateTransformations": scale} for n, scale in enumerate(scales)
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    np.testing.assert_array_equal(pixels_of(tmp_path / "m.zarr")[0][0, 0, 0], image)
    with open_source(tmp_path / "m.zarr") as source:
        assert source.layout.pixel_size_um == (0.2, 0.2)
    del scales[1][0]["scale"]
    scales[1][0]["path"] = "factors"
    datasets[1]["coordinateTransformations"] = scales[1]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    with opened(tmp_path / "m.zarr") as series, pytest.raises(ImageError, match="array of its own"):
        series[0].open()


def test_names_of_dimensions_tell_the_axes_of_a_plain_array(tmp_path: Path) -> None:
    image = picture(4, 20, 30)
    for names, planes in [(("c", "y", "x"), (1, 1, 4)), (None, (1, 4, 1))]:
        path = tmp_path / f"{names}.zarr"
        zarr.create_array(str(path), data=image, dimension_names=names)
        with open_source(path) as source:
            assert source.layout.planes == planes
