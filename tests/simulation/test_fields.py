import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from w2s_export.io.images import read_image
from w2s_export.resources import asset
from w2s_export.simulation import optics
from w2s_export.simulation.fields import SimulationConfig, detect, expose, simulate_pair

DATA = Path(
    os.environ.get("W2S_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data")
)
STRUCTURES = ["filaments", "vesicles", "mitochondria"]
# The default sample of the package: written with write_imagej_tiff(path, image, 0.0626).
SAMPLE = "models/wf2sim-microtubules-s/sample_input.tif"
SAMPLE_CONFIG = SimulationConfig(height=128, width=160)
SAMPLE_SEED = 106


# ---- optics ----


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        (0, 1),
        (0.5, 2 / np.pi * (np.pi / 3 - np.sqrt(3) / 4)),  # arccos ½ = π/3, ½ √¾ = √3/4: 0.3910
        (np.sqrt(0.5), 2 / np.pi * (np.pi / 4 - 0.5)),  # 0.1817
        (1, 0),
        (1.5, 0),
    ],
)
def test_otf_at_known_frequencies(rho: float, expected: float) -> None:
    limit = optics.cutoff(1.41, 0.525)
    assert limit == pytest.approx(5.37142857)
    assert optics.otf(np.array([rho * limit]), limit)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rho", [0.1, 0.3, 0.6, 0.9])
def test_otf_is_the_overlap_of_two_pupils(rho: float) -> None:
    """Counted on a grid: the common area of two unit discs 2ρ apart, over one disc."""
    y, x = np.mgrid[-1:1:1001j, -1:1:1001j]
    overlap = ((x**2 + y**2 <= 1) & ((x - 2 * rho) ** 2 + y**2 <= 1)).sum()
    # a grid of 1001² points counts an area to about its boundary's share of cells: 2e-3
    assert optics.otf(np.array([rho]), 1.0)[0] == pytest.approx(
        overlap / (x**2 + y**2 <= 1).sum(), abs=2e-3
    )


def test_point_spread_function_is_the_airy_pattern() -> None:
    from scipy.special import j1

    na, wavelength, pixel, n = 1.41, 0.525, 0.01, 512
    density = np.zeros((n, n))
    density[n // 2, n // 2] = 1
    frequency = optics.frequencies((n, n), pixel)
    limit = optics.cutoff(na, wavelength)
    psf = optics.transmit(np.fft.rfft2(density), optics.otf(frequency, limit), (n, n))
    radius = np.arange(1, 60) * pixel
    v = 2 * np.pi * na * radius / wavelength
    airy = (2 * j1(v) / v) ** 2
    # the FFT repeats the field every 5 µm, which adds the neighbours' tails: 1e-4 of the peak
    profile = psf[n // 2, n // 2 + 1 : n // 2 + 60] / psf[n // 2, n // 2]
    np.testing.assert_allclose(profile, airy, atol=5e-4)


@pytest.mark.parametrize("reach", [1, 2])
def test_nothing_passes_beyond_the_cutoff(reach: int) -> None:
    density = np.random.default_rng(0).random((256, 320)) ** 8
    frequency = optics.frequencies((256, 320), 0.0104)
    limit = reach * optics.cutoff(1.41, 0.525)
    image = optics.transmit(np.fft.rfft2(density), optics.otf(frequency, limit), (256, 320))
    power = np.abs(np.fft.rfft2(image)) ** 2
    assert power[frequency > limit].sum() < 1e-6 * power[frequency <= limit].sum()
    near = (frequency > 0.7 * limit) & (frequency < 0.9 * limit)
    assert power[near].mean() > 1e3 * power[frequency > 1.01 * limit].mean()


def test_haze_loses_no_light_and_takes_detail() -> None:
    transfer = optics.haze(np.array([0.0, 100.0]), 0.4, 0.15)
    np.testing.assert_allclose(transfer, [1, 0.6], atol=1e-12)
    # a Gaussian of s µm has the transfer exp(−2 π² s² f²): 0.4 + 0.6 at s f = 1/(π √2) gives 1/e
    f = 1 / (np.pi * np.sqrt(2) * 0.15)
    assert optics.haze(np.array([f]), 1, 0.15)[0] == pytest.approx(np.exp(-1))


# ---- geometry ----


def one_point(y: float, x: float, size: int = 33) -> tuple[np.ndarray, np.ndarray]:
    """Images of a single fluorophore at (y, x) in camera pixels from the corner of the field."""
    config = SimulationConfig(height=size, width=size)
    position = np.array([[y, x]]) * config.pixel_size_um
    return expose(config, position, np.ones(1))


def centroid(image: np.ndarray) -> tuple[float, float]:
    weight = image / image.sum()
    y, x = np.indices(image.shape)
    return float((weight * y).sum()), float((weight * x).sum())


def test_a_point_in_the_middle_of_a_camera_pixel() -> None:
    """Pixel 16 spans 16 … 17, its middle is 16.5; it covers SIM pixels 32 and 33."""
    widefield, sim = one_point(16.5, 16.5)
    assert np.unravel_index(widefield.argmax(), widefield.shape) == (16, 16)
    assert centroid(widefield) == pytest.approx((16, 16), abs=1e-6)
    assert centroid(sim) == pytest.approx((32.5, 32.5), abs=1e-6)
    block = sim[32:34, 32:34]
    np.testing.assert_allclose(block, block[0, 0], rtol=1e-6)
    assert block[0, 0] == pytest.approx(sim.max())


@pytest.mark.parametrize(("y", "x"), [(16.25, 16.75), (16.0, 17.0), (16.6, 16.1)])
def test_points_between_pixels(y: float, x: float) -> None:
    widefield, sim = one_point(y, x)
    # Cut at the field's border, the Airy pattern's wide skirt pulls the centroid to the middle by
    # up to 3 % of the distance from it (0.6 px).
    assert centroid(widefield) == pytest.approx((y - 0.5, x - 0.5), abs=0.03)
    assert centroid(sim) == pytest.approx((2 * y - 0.5, 2 * x - 0.5), abs=0.03)


def test_sim_resolves_what_widefield_does_not() -> None:
    config = SimulationConfig(height=33, width=33, haze=0)
    apart = 0.13  # µm; Rayleigh's limit is 0.61 λ/NA = 0.227 µm, half of it with SIM
    middle = 16.5 * config.pixel_size_um
    positions = np.array([[middle, middle - apart / 2], [middle, middle + apart / 2]])
    widefield, sim = expose(config, positions, np.ones(2))
    assert widefield[16].argmax() == 16
    line = sim[32]
    assert line[32] < 0.9 * line.max()


def test_evenly_lit_field() -> None:
    """Light per camera pixel is the same in both images: 36 grid points of brightness 1."""
    config = SimulationConfig(height=16, width=20)
    step = config.pixel_size_um / 6
    y, x = np.meshgrid(np.arange(-144, 16 * 6 + 144), np.arange(-144, 20 * 6 + 144), indexing="ij")
    positions = (np.stack([y.ravel(), x.ravel()], 1) + 0.5) * step
    widefield, sim = expose(config, positions, np.ones(len(positions)))
    np.testing.assert_allclose(widefield, 36, rtol=1e-9)
    np.testing.assert_allclose(sim, 36, rtol=1e-9)


# ---- noise ----


def test_mean_and_variance_of_the_camera() -> None:
    config = SimulationConfig(
        photons=100, background=10, frames=9, read_noise=1.6, gain=10, offset=100
    )
    counts = detect(config, np.full((256, 256), 100.0), np.random.default_rng(0)).astype(float)
    # mean 100 + 10 · 110; variance 10² · (110 + 1.6²) / 9 of nine frames' mean, + 1/12 of rounding
    assert counts.mean() == pytest.approx(1200, abs=5 * 35.4 / 256)
    # the sample variance of 65536 draws has a relative standard error of √(2/65536) = 0.6 %
    assert counts.var() == pytest.approx(100 * 112.56 / 9 + 1 / 12, rel=0.03)
    neighbours = np.corrcoef(counts[:, 1:].ravel(), counts[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_dark_and_saturated_pixels() -> None:
    dark = SimulationConfig(background=0, read_noise=0, offset=100)
    assert (detect(dark, np.zeros((4, 4)), np.random.default_rng(0)) == 100).all()
    bright = detect(dark, np.full((4, 4), 1e6), np.random.default_rng(0))
    assert (bright == 65535).all()


def test_more_photons_show_the_same_sample() -> None:
    dim_config = SimulationConfig(height=32, width=32, photons=50)
    bright_config = SimulationConfig(height=32, width=32, photons=5000)
    _, dim = simulate_pair(dim_config, 3)
    counts, bright = simulate_pair(bright_config, 3)
    np.testing.assert_allclose(bright, 100 * dim, rtol=1e-5)
    # noise-free peak 5000 electrons a frame, gain 10; 9 frames leave ±24 electrons
    assert counts.max() == pytest.approx(100 + 10 * (5000 + 10), rel=0.02)


# ---- pairs ----


@pytest.mark.parametrize("structure", STRUCTURES)
def test_pairs(structure: str) -> None:
    config = SimulationConfig(structure=structure, height=48, width=64)
    widefield, sim = simulate_pair(config, 7)
    assert (widefield.shape, widefield.dtype) == ((48, 64), np.uint16)
    assert (sim.shape, sim.dtype) == ((96, 128), np.float32)
    assert np.isfinite(sim).all()
    assert sim.min() >= 0
    again = simulate_pair(config, 7)
    np.testing.assert_array_equal(widefield, again[0])
    np.testing.assert_array_equal(sim, again[1])
    assert (simulate_pair(config, 8)[0] != widefield).any()
    # the same field: SIM averaged over its 2×2 blocks looks like the widefield image
    blocks = sim.reshape(48, 2, 64, 2).mean(axis=(1, 3))
    assert np.corrcoef(blocks.ravel(), widefield.ravel().astype(float))[0, 1] > 0.8


def test_an_empty_sample() -> None:
    widefield, sim = simulate_pair(SimulationConfig(height=16, width=16, density=0), 0)
    assert not sim.any()
    assert widefield.mean() == pytest.approx(100 + 10 * 10, abs=20)


@pytest.mark.parametrize(
    "values", [{"height": 4}, {"width": 100_000}, {"photons": 0}, {"structure": "actin"}, {"na": 1}]
)
def test_impossible_configurations(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SimulationConfig.model_validate(values)


# ---- the default sample, and the data it stands in for ----


def test_the_default_sample_comes_from_its_seed() -> None:
    stored = read_image(asset(SAMPLE))
    assert stored.pixels.shape == (1, 1, 128, 160)
    assert stored.pixels.dtype == np.uint16
    assert stored.pixel_size_um == (0.0626, 0.0626)
    simulated, _ = simulate_pair(SAMPLE_CONFIG, SAMPLE_SEED)
    difference = np.abs(stored.pixels[0, 0].astype(int) - simulated.astype(int))
    assert difference.max() <= 1  # another FFT may round a count the other way


def scaled(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, [0.1, 99.9])
    return (image - low) / (high - low)


def statistics(low: np.ndarray, high: np.ndarray) -> list[float]:
    """Medians, contrast at fine detail and noise of a scaled pair: what a network sees of it."""
    low, high = scaled(low[:128, :128]), scaled(high[:256, :256])
    window = np.hanning(128)
    power = np.abs(np.fft.fft2((low - low.mean()) * window[:, None] * window)) ** 2
    f = np.hypot(np.fft.fftfreq(128, 0.0626)[:, None], np.fft.fftfreq(128, 0.0626))
    return [
        float(np.median(low)),
        float(np.median(high)),
        float(np.log10(power[(f > 1) & (f < 2)].mean())),
        float(np.log10(power[(f > 2.5) & (f < 3.5)].mean())),
        float(np.log10(power[(f > 5) & (f < 6)].mean())),  # nothing but noise from 5.4 on
    ]


@pytest.mark.skipif(
    not (DATA / "biosr_mt").is_dir(), reason="needs the BioSR pairs in ../shared/data/biosr_mt"
)
def test_simulated_microtubules_resemble_biosr() -> None:
    paths = sorted((DATA / "biosr_mt" / "lr").iterdir())[::3]
    real = np.array(
        [
            statistics(
                read_image(path).pixels[0, 0],
                read_image(path.parents[1] / "hr" / path.name).pixels[0, 0],
            )
            for path in paths
        ]
    )
    pairs = [simulate_pair(SimulationConfig(), seed) for seed in range(4)]
    simulated = np.mean([statistics(low.astype(float), high) for low, high in pairs], axis=0)
    lowest, highest = real.min(axis=0), real.max(axis=0)
    assert (lowest <= simulated).all(), (lowest, simulated)
    assert (simulated <= highest).all(), (simulated, highest)
