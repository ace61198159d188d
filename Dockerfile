# w2s-export on a CPU. Build: docker build -t w2s-export .
# Run:  docker run --rm --user "$(id -u)" -v "$PWD:/data" w2s-export restore /data/plate --output /data/restored
# GPU (not tried): replace the second base by one of NVIDIA's CUDA runtime images with Python 3.11, add
#      RUN pip uninstall -y onnxruntime && pip install --no-cache-dir onnxruntime-gpu
#      before USER, and run it with --gpus all
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist .

FROM python:3.11-slim
COPY --from=build /source/dist/*.whl /wheels/
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[zarr,dask]" && rm -r /wheels \
    && useradd --create-home --uid 1000 biologist
USER 1000
WORKDIR /data
ENTRYPOINT ["w2s-export"]
CMD ["--help"]
