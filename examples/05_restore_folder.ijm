// Restore every TIFF of a folder with DeepImageJ, in Fiji.
//
// First unzip NAME.deepimagej.zip into Fiji.app/models/NAME, as the README in it says. Then run this
// with Plugins > Macros > Run..., or without its dialog, from a script or the command line:
//
//   runMacro("05_restore_folder.ijm", "MODEL FOLDER|IMAGES|RESULTS|3.1");
//
// The last word is the version of DeepImageJ: 3.1, or 2.1 (which is right for 3.0 as well). For each
// image IMAGE.tif there is IMAGE_output.tif afterwards, with its pixel size and a display range.
// Images that the network cannot take, stacks among them, are named in the log and left out.

versions = newArray("3.1", "2.1");
argument = getArgument();
if (argument == "") {
	Dialog.create("Restore a folder");
	Dialog.addDirectory("Model folder, with rdf.yaml", getDirectory("imagej") + "models");
	Dialog.addDirectory("Images", "");
	Dialog.addDirectory("Results", "");
	Dialog.addChoice("DeepImageJ (2.1: also 3.0)", versions);
	Dialog.show();
	model = Dialog.getString();
	images = Dialog.getString();
	results = Dialog.getString();
	version = Dialog.getChoice();
} else {
	words = split(argument, "|");
	if (words.length != 4)
		exit("Give MODEL FOLDER|IMAGES|RESULTS|VERSION, not \"" + argument + "\".");
	model = words[0];
	images = words[1];
	results = words[2];
	version = words[3];
}
model = withoutSlash(model);
images = withoutSlash(images);
results = withoutSlash(results);
if (version != "3.1" && version != "2.1")
	exit("The version of DeepImageJ is 3.1 or 2.1, not \"" + version + "\".");
if (!File.isDirectory(images))
	exit("There is no folder " + images + ".");
if (images == results)
	exit("Choose a folder for the results other than that of the images,\n"
		+ "or the next run would restore the results again.");

// What the package says about its network, in lines of rdf.yaml.
if (!File.exists(model + "/rdf.yaml"))
	exit("There is no rdf.yaml in " + model + ":\n"
		+ "choose the folder into which you unzipped NAME.deepimagej.zip.");
rdf = split(File.openAsString(model + "/rdf.yaml"), "\n");
if (!startsWith(valueOf("format_version:", 0), "0.4"))
	exit("The package in " + model + " is not for DeepImageJ:\nunzip NAME.deepimagej.zip instead.");
name = valueOf("name:", 0);
outputName = valueOf("- name:", lineOf("outputs:", 0));
channels = numberOf("min:", 1);
smallest = numberOf("min:", 2);
step = maxOf(1, numberOf("step:", 2));
scale = numberOf("scale:", 2);
context = numberOf("halo:", 2) / scale;  // input pixels that a tile needs around it
// A flat image has no range and no deviation; with a fixed range it is an image like any other.
normalisesByImage = has("name: scale_range") || has("name: zero_mean_unit_variance");

if (!File.exists(results))
	File.makeDirectory(results);
// DeepImageJ 3.1 names a result after the image, by rules of ImageJ that change: blanks are deleted.
// In a folder of its own it is found by any name, and no result of another run is taken for it.
fresh = results + "/restoring";
files = getFileList(images);
restored = 0;
for (i = 0; i < files.length; i++) {
	lower = toLowerCase(files[i]);
	if (endsWith(lower, ".tif") || endsWith(lower, ".tiff")) {
		before = nImages;
		problem = restore(files[i]);
		while (nImages > before) {
			selectImage(nImages);
			close();
		}
		if (problem == "")
			restored++;
		else
			print(files[i] + ": " + problem + ", left out");
	}
}
print(restored + " images restored into " + results);

// Restore one image; what hindered it, or nothing.
function restore(file) {
	base = substring(file, 0, lastIndexOf(file, "."));
	result = results + "/" + base + "_" + outputName + ".tif";
	open(images + "/" + file);
	getDimensions(width, height, c, slices, frames);
	getVoxelSize(pixelWidth, pixelHeight, depth, unit);
	if (bitDepth() == 24)
		c = 3;
	if (slices * frames > 1)
		return "has " + slices * frames + " planes (Image > Stacks > Tools > Stack Splitter)";
	if (c != channels)
		return "has " + c + " channels, the network takes " + channels;
	if (minOf(width, height) < smallest)
		return "is smaller than " + smallest + " pixels";
	if (width % step + height % step > 0)
		return "has sides that are not multiples of " + step;
	run("Select None");
	for (plane = 1; plane <= nSlices; plane++) {
		setSlice(plane);
		getRawStatistics(counted, mean, least, most);  // counts finite pixels alone
		if (counted < width * height)
			return "has pixels that are not finite numbers (NaN or infinite)";
	}
	if (least == most && c == 1 && normalisesByImage)
		return "is flat";
	if (version == "3.1") {
		close();
		clear(result);
		clear(fresh);
		File.makeDirectory(fresh);
		run("DeepImageJ Run", "model_path=[" + model + "] input_path=[" + images + "/" + file
			+ "] output_folder=[" + fresh + "] display_output=null");
		written = getFileList(fresh);
		if (written.length != 1) {
			clear(fresh);
			return "DeepImageJ wrote " + written.length + " results";
		}
		open(fresh + "/" + written[0]);
		clear(fresh);
		run("Enhance Contrast", "saturated=0.35");
	} else {
		run("DeepImageJ Run", "model=" + bracketed(name) + " format=Tensorflow preprocessing="
			+ macroNamed("preprocessing") + " postprocessing=" + macroNamed("postprocessing")
			+ " axes=Y,X,C tile=" + tile(height) + "," + tile(width) + "," + channels
			+ " logging=normal");
	}
	if (getWidth() != scale * width || getHeight() != scale * height)
		return "DeepImageJ gave no image of " + scale * width + "x" + scale * height;
	if (!startsWith(unit, "pixel"))
		setVoxelSize(pixelWidth / scale, pixelHeight / scale, depth, unit);
	saveAs("Tiff", result);
	return "";
}

// Delete a file, or a folder of files, where there is one.
function clear(path) {
	if (File.isDirectory(path)) {
		left = getFileList(path);
		for (f = 0; f < left.length; f++)
			deleted = File.delete(path + "/" + left[f]);
	}
	if (File.exists(path))
		deleted = File.delete(path);
}

// The whole image in one tile; DeepImageJ 2.1 mirrors an image at most once on each side.
function tile(length) {
	wanted = minOf(length + 2 * context, 3 * length);
	return floor(wanted / step) * step;
}

function macroNamed(stage) {
	if (File.exists(model + "/" + stage + ".ijm"))
		return stage + ".ijm";
	return "[no " + stage + "]";
}

// DeepImageJ 2.1 unwraps brackets only around a value that holds a blank.
function bracketed(value) {
	if (indexOf(value, " ") >= 0)
		return "[" + value + "]";
	return value;
}

function withoutSlash(path) {
	path = replace(path, "\\", "/");
	while (endsWith(path, "/"))
		path = substring(path, 0, lengthOf(path) - 1);
	return path;
}

// The first line from `start` on that begins with `key`, blanks before it aside.
function lineOf(key, start) {
	for (l = start; l < rdf.length; l++)
		if (startsWith(String.trim(rdf[l]), key))
			return l;
	exit("rdf.yaml has no " + key + " in " + model);
}

// Whether a line is `text`, blanks and the dash of a list before it aside.
function has(text) {
	for (l = 0; l < rdf.length; l++)
		if (endsWith(rdf[l], " " + text))
			return true;
	return false;
}

function valueOf(key, start) {
	line = String.trim(rdf[lineOf(key, start)]);
	value = String.trim(substring(line, lengthOf(key)));
	quoted = startsWith(value, "'") || startsWith(value, "\"");
	if (quoted)
		value = substring(value, 1, lengthOf(value) - 1);
	return value;
}

// The number at `index` in the list under `key`: batch, channel, y, x.
function numberOf(key, index) {
	item = String.trim(rdf[lineOf(key, 0) + 1 + index]);
	return parseFloat(substring(item, 1));
}
