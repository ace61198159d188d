// Post-processing for DeepImageJ 2.1 and 3.0: pixel size and display range of the current image,
// the network's result. Its pixels stay as they are.
//
// DeepImageJ names the result MODEL_output_IMAGE and gives it no pixel size; it is taken from IMAGE,
// which is ${factor} times smaller, or from the result itself where it has one already.

factor = ${factor};

result = getImageID();
title = getTitle();
getDimensions(width, height, channels, slices, frames);
getVoxelSize(pixelWidth, pixelHeight, depth, unit);
if (startsWith(unit, "pixel")) {
	shown = isOpen(result);
	for (i = 1; i <= nImages && shown; i++) {
		selectImage(i);
		name = getTitle();
		dot = lastIndexOf(name, ".");
		if (dot > 0)
			name = substring(name, 0, dot);
		fits = getWidth() * factor == width && getHeight() * factor == height;
		if (getImageID() != result && fits && endsWith(title, name))
			getVoxelSize(pixelWidth, pixelHeight, depth, unit);
	}
	if (shown)
		selectImage(result);
}
if (!startsWith(unit, "pixel"))
	setVoxelSize(pixelWidth / factor, pixelHeight / factor, depth, unit);
for (plane = channels * slices * frames; plane >= 1; plane--) {
	setSlice(plane);
	run("Enhance Contrast", "saturated=0.35");
}
