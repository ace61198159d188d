// Pre-processing for DeepImageJ 2.1 and 3.0: (x - P_low) / (P_high - P_low + eps), as in training.
//
// Works on the current image and leaves a 32-bit copy as the current image; the original keeps its
// pixels. Percentiles are exact (linear interpolation between ranks, as numpy.percentile), over all
// pixels of the ${channels} channel(s) the network takes; other planes of a stack are normalised
// one by one. ImageJ's own percentiles come from 256 bins and are too coarse.

low = ${low};
high = ${high};
eps = ${eps};
channels = ${channels};

if (bitDepth() == 24 && channels != 3)
	exit("This network takes " + channels + " channel(s), the image is RGB.\n"
		+ "Choose one with Image > Color > Split Channels, then run it again.");
title = getTitle();
original = getImageID();
selected = selectionType() != -1;
if (selected)
	run("Select None");  // or only the selected part would be copied
run("Duplicate...", "title=normalised duplicate");
copy = getImageID();
if (selected && isOpen(original)) {
	selectImage(original);
	run("Restore Selection");
	selectImage(copy);
}
if (bitDepth() == 24)
	run("Make Composite");
getDimensions(width, height, c, slices, frames);
planes = c * slices * frames;
if (channels > 1 && c != channels) {
	close();
	exit("This network takes " + channels + " channels, the image has " + c + ".");
}

if (width * height == 1) {
	close();
	exit("The image is one pixel: there is nothing to normalise it by.");
}

lows = newArray(planes);
ranges = newArray(planes);
calibrated = calibrate(0) != 0 || calibrate(1) != 1;
if (bitDepth() == 32 || calibrated)
	run("32-bit");
for (first = 1; first <= planes; first += channels) {
	if (bitDepth() == 32)
		sorted = sortedPixels(first, channels, width, height);
	else
		sorted = countedPixels(first, channels);
	n = channels * width * height;
	bottom = percentile(sorted, n, low);
	top = percentile(sorted, n, high);
	if (!(top - bottom > 1e-6 * maxOf(abs(bottom), abs(top)))) {
		close();
		exit("The image is flat: its " + low + " % and " + high + " % percentiles are "
			+ bottom + " and " + top + ".");
	}
	for (plane = first; plane < first + channels; plane++) {
		lows[plane - 1] = bottom;
		ranges[plane - 1] = top - bottom + eps;
	}
}
if (bitDepth() != 32)
	run("32-bit");
for (plane = 1; plane <= planes; plane++) {
	setSlice(plane);
	run("Subtract...", "value=" + d2s(lows[plane - 1], -9) + " slice");
	run("Divide...", "value=" + d2s(ranges[plane - 1], -9) + " slice");${clip}
	setMinAndMax(0, 1);
}
setSlice(1);
rename(title);

// All pixels of the planes, ascending.
function sortedPixels(first, channels, width, height) {
	pixels = newArray(channels * width * height);
	i = 0;
	for (plane = first; plane < first + channels; plane++) {
		setSlice(plane);
		for (y = 0; y < height; y++)
			for (x = 0; x < width; x++)
				pixels[i++] = finite(getPixel(x, y));
	}
	return Array.sort(pixels);
}

// The value of a pixel; the macro ends where it is not a number, or infinite.
function finite(value) {
	if (value - value != 0) {
		close();
		exit("The image holds pixels that are not finite numbers (NaN or infinite).\n"
			+ "Replace them, for example with Process > Math > Macro..., then run it again.");
	}
	return value;
}

// How many pixels of the planes have each value: the same in less time and memory.
function countedPixels(first, channels) {
	size = pow(2, bitDepth());
	total = newArray(size);
	for (plane = first; plane < first + channels; plane++) {
		setSlice(plane);
		getHistogram(values, counts, size);
		for (v = 0; v < size; v++)
			total[v] += counts[v];
	}
	return total;
}

function percentile(sorted, n, percent) {
	place = percent / 100 * (n - 1);
	rank = floor(place);
	below = ranked(sorted, n, rank);
	above = ranked(sorted, n, minOf(rank + 1, n - 1));
	return below + (above - below) * (place - rank);
}

function ranked(sorted, n, rank) {
	if (bitDepth() == 32)
		return sorted[rank];
	seen = 0;
	value = -1;
	while (seen <= rank)
		seen += sorted[++value];
	return value;
}
