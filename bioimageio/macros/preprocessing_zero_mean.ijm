// Pre-processing for DeepImageJ 2.1 and 3.0: (x - mean) / (std + eps) of the image, as in training.
//
// Works on the current image and leaves a 32-bit copy as the current image; the original keeps its
// pixels. Mean and standard deviation are of all pixels of the ${channels} channel(s) the network
// takes; other planes of a stack are normalised one by one.

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
if (bitDepth() != 32)
	run("32-bit");
for (first = 1; first <= planes; first += channels) {
	n = channels * width * height;
	mean = sumOf(first, channels, width, height, 0, 1) / n;
	deviation = sqrt(sumOf(first, channels, width, height, mean, 2) / n);
	if (!(deviation > 1e-6 * abs(mean))) {
		close();
		exit("The image is flat: its mean is " + mean + ", its deviation " + deviation + ".");
	}
	for (plane = first; plane < first + channels; plane++) {
		lows[plane - 1] = mean;
		ranges[plane - 1] = deviation + eps;
	}
}
for (plane = 1; plane <= planes; plane++) {
	setSlice(plane);
	run("Subtract...", "value=" + d2s(lows[plane - 1], -9) + " slice");
	run("Divide...", "value=" + d2s(ranges[plane - 1], -9) + " slice");${clip}
	setMinAndMax(0, 1);
}
setSlice(1);
rename(title);

// Sum of (x - mean) to the power over all pixels of the planes.
function sumOf(first, channels, width, height, mean, power) {
	sum = 0;
	for (plane = first; plane < first + channels; plane++) {
		setSlice(plane);
		for (y = 0; y < height; y++)
			for (x = 0; x < width; x++)
				sum += pow(finite(getPixel(x, y)) - mean, power);
	}
	return sum;
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
