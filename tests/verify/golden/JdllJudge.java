import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.bioimage.modelrunner.bioimageio.description.ModelDescriptor;
import io.bioimage.modelrunner.bioimageio.description.ModelDescriptorFactory;
import io.bioimage.modelrunner.bioimageio.description.TensorSpec;
import io.bioimage.modelrunner.bioimageio.tiling.ImageInfo;
import io.bioimage.modelrunner.bioimageio.tiling.TileCalculator;
import io.bioimage.modelrunner.bioimageio.tiling.TileMaker;
import io.bioimage.modelrunner.model.processing.Processing;
import io.bioimage.modelrunner.tensor.Tensor;
import io.bioimage.modelrunner.utils.CommonUtils;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import net.imglib2.Cursor;
import net.imglib2.RandomAccessibleInterval;
import net.imglib2.img.Img;
import net.imglib2.img.array.ArrayImgs;
import net.imglib2.type.numeric.real.FloatType;
import net.imglib2.util.Cast;
import net.imglib2.view.Views;

/** Asks JDLL: a case a line on standard input ({"rdf": text, "shape": [..]}), an answer a line. */
public class JdllJudge {
  private static final long PLANNED_ALONE = 4_000_000;
  private static final long PATIENCE = 8000; // milliseconds

  public static void main(String[] args) throws Exception {
    PrintStream out = System.out;
    System.setOut(System.err); // JDLL prints
    Gson gson = new GsonBuilder().serializeSpecialFloatingPointValues().create();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonObject given = JsonParser.parseString(line).getAsJsonObject();
      JsonObject answer = new JsonObject();
      Thread thread = new Thread(() -> judge(given, answer));
      thread.setDaemon(true);
      thread.start();
      thread.join(PATIENCE);
      JsonObject hangs = new JsonObject();
      hangs.addProperty("outcome", "hangs");
      out.println(gson.toJson(thread.isAlive() ? hangs : answer));
    }
    out.flush();
    System.exit(0); // what hangs goes on
  }

  private static void judge(JsonObject given, JsonObject answer) {
    ModelDescriptor model;
    try {
      model = ModelDescriptorFactory.readFromYamlTextString(given.get("rdf").getAsString());
    } catch (Throwable error) {
      answer.addProperty("outcome", "drops");
      answer.addProperty("why", why(error));
      return;
    }
    JsonArray weights = new JsonArray();
    model.getWeights().getSupportedWeightNamesAndVersion().forEach(weights::add);
    answer.add("weights", weights);
    try {
      run(model, given.getAsJsonArray("shape"), answer);
      answer.addProperty("outcome", "runs");
    } catch (Throwable error) {
      answer.addProperty("outcome", "throws");
      answer.addProperty("why", why(error));
    }
  }

  private static void run(ModelDescriptor model, JsonArray shape, JsonObject answer) {
    long[] size = new long[shape.size()];
    long pixels = 1;
    for (int i = 0; i < size.length; i++) pixels *= size[i] = shape.get(i).getAsLong();
    TensorSpec input = model.getInputTensors().get(0);
    boolean small = pixels <= PLANNED_ALONE;
    Tensor<FloatType> image =
        small ? Tensor.build(input.getName(), input.getAxesOrder(), counts(size)) : null;
    List<ImageInfo> infos = new ArrayList<>();
    infos.add(new ImageInfo(input.getName(), input.getAxesOrder(), size));
    TileMaker tiles =
        TileMaker.build(model, TileCalculator.init(model).getOptimalTileSize(infos));
    answer.addProperty("tiles", tiles.getNumberOfTiles());
    answer.add("input_tile", array(tiles.getInputTileSize(input.getName())));
    answer.add("input_positions", first(tiles.getTilePostionsInputImage(input.getName())));
    JsonArray outputs = new JsonArray();
    List<Tensor<FloatType>> results = new ArrayList<>();
    for (TensorSpec output : model.getOutputTensors()) {
      String name = output.getName();
      JsonObject planned = new JsonObject();
      planned.add("image", array(tiles.getOutputImageSize(name)));
      planned.add("tile", array(tiles.getOutputTileSize(name)));
      JsonArray roi = new JsonArray();
      for (int length : tiles.getOutputRoiSize(name)) roi.add(length);
      planned.add("roi", roi);
      planned.add("positions", first(tiles.getTilePostionsOutputImage(name)));
      outputs.add(planned);
      if (small) {
        long[] whole = tiles.getOutputImageSize(name);
        results.add(
            Cast.unchecked( // of whatever type is described
                Tensor.buildBlankTensor(
                    name,
                    output.getAxesOrder(),
                    whole,
                    Cast.unchecked(CommonUtils.getImgLib2DataType(output.getDataType())))));
      }
    }
    answer.add("outputs", outputs);
    if (!small) return;
    Processing processing = Processing.init(model);
    List<Tensor<FloatType>> images = new ArrayList<>();
    images.add(image);
    List<Tensor<FloatType>> processed = processing.preprocess(images, false);
    RandomAccessibleInterval<FloatType> values = Cast.unchecked(processed.get(0).getData());
    describe(values, size, answer);
    processing.postprocess(results, true);
  }

  /** Pixel n, counted in the order of the axes with the last the fastest, is 7919 n mod 1009. */
  private static Img<FloatType> counts(long[] size) {
    Img<FloatType> image = ArrayImgs.floats(size);
    Cursor<FloatType> cursor = image.localizingCursor();
    while (cursor.hasNext()) {
      cursor.fwd();
      long n = 0;
      for (int i = 0; i < size.length; i++) n = n * size[i] + cursor.getLongPosition(i);
      cursor.get().set((float) (n * 7919L % 1009L));
    }
    return image;
  }

  private static void describe(
      RandomAccessibleInterval<FloatType> values, long[] size, JsonObject answer) {
    JsonArray some = new JsonArray();
    for (int q = 0; q < 4; q++) {
      long[] place = new long[size.length];
      for (int i = 0; i < size.length; i++) place[i] = Math.min(size[i] - 1, q * (i + 1));
      some.add(values.getAt(place).getRealDouble());
    }
    double sum = 0;
    double squares = 0;
    long count = 0;
    for (FloatType value : Views.iterable(values)) {
      sum += value.getRealDouble();
      squares += value.getRealDouble() * value.getRealDouble();
      count++;
    }
    answer.add("pre", some);
    answer.addProperty("pre_mean", sum / count);
    answer.addProperty("pre_square", squares / count);
  }

  private static String why(Throwable error) {
    while (error.getCause() != null) error = error.getCause();
    String message = error.getClass().getSimpleName() + ": " + error.getMessage();
    message = message.split("\n")[0];
    return message.substring(0, Math.min(90, message.length()));
  }

  private static JsonArray array(long[] values) {
    JsonArray array = new JsonArray();
    for (long value : values) array.add(value);
    return array;
  }

  private static JsonArray first(List<long[]> places) {
    JsonArray array = new JsonArray();
    for (long[] place : places.subList(0, Math.min(6, places.size()))) array.add(array(place));
    return array;
  }
}
