// Pre-processing for DeepImageJ 2.1 and 3.0: (x - low) / range, as in training.
//
// Works on the current image and leaves a 32-bit copy as the current image; the original keeps its
// pixels. Flat images and single pixels have a meaning here: no image changes low and range.

low = ${low};
range = ${range};
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
if (channels > 1 && c != channels) {
	close();
	exit("This network takes " + channels + " channels, the image has " + c + ".");
}
floats = bitDepth() == 32;
if (!floats)
	run("32-bit");
for (plane = 1; plane <= c * slices * frames; plane++) {
	setSlice(plane);
	if (floats)
		checkFinite(width, height);
	run("Subtract...", "value=" + d2s(low, -9) + " slice");
	run("Divide...", "value=" + d2s(range, -9) + " slice");${clip}
	setMinAndMax(0, 1);
}
setSlice(1);
rename(title);

// The macro ends where a pixel of the current plane is not a number, or infinite.
function checkFinite(width, height) {
	for (y = 0; y < height; y++)
		for (x = 0; x < width; x++) {
			value = getPixel(x, y);
			if (value - value != 0) {
				close();
				exit("The image holds pixels that are not finite numbers (NaN or infinite).\n"
					+ "Replace them, for example with Process > Math > Macro..., then run it again.");
			}
		}
}
