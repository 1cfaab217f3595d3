# The worker with the embedded model. torch from the default index runs on NVIDIA GPUs and on CPUs; for a much
# smaller image without CUDA name an index of CPU builds as PIP_EXTRA_INDEX_URL (docker/README.md).
FROM python:3.11.14-slim-bookworm AS build
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG DDSR_OTEL=""
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/worker.txt requirements/otel.txt requirements/worker-no-deps.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements/worker.txt ${DDSR_OTEL:+-r requirements/otel.txt} \
    && pip install --no-cache-dir --disable-pip-version-check --no-deps -r requirements/worker-no-deps.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY shared shared
COPY worker worker
# The command `ddsr` needs the package `cli`, which is not here. ldpc's needs are left out on purpose; all others are met.
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps . && rm /opt/venv/bin/ddsr \
    && { pip check --disable-pip-version-check >/tmp/check || true; } && ! grep -v '^ldpc ' /tmp/check \
    && pip uninstall --yes --disable-pip-version-check setuptools pip
# What torch brings for building and testing extensions, the tests of others, and models of others: the named ones are
# imported along with CLIP, which is all that a DDSR model has of them. tests/docker compares the names with what is imported.
WORKDIR /opt/venv/lib/python3.11/site-packages
RUN rm -r torch/include torch/test torch/lib/*test*.so diffusers/pipelines diffusers/modular_pipelines \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && find scipy networkx sympy mpmath -type d -name tests -prune -exec rm -r {} + \
    && find transformers/models -mindepth 1 -maxdepth 1 -type d ! -name auto ! -name bloom ! -name clip \
        ! -name dinov2_with_registers ! -name encoder_decoder ! -name siglip ! -name vit_mae -exec rm -r {} +

FROM python:3.11.14-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# Nothing is installed at run time: pip, setuptools and their bundled wheels go.
RUN rm -rf /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip*
# An empty volume takes owner and mode of the folder it is mounted on.
RUN groupadd --gid 10001 ddsr \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin ddsr \
    && install -d -o ddsr -g ddsr -m 0750 /var/lib/ddsr /var/lib/ddsr/redis-worker \
    && install -d -o ddsr -g ddsr -m 0700 /var/lib/ddsr/worker-keys /var/lib/ddsr/model-cache \
    && install -d -o ddsr -g ddsr -m 0755 /var/lib/ddsr/worker-public
COPY --from=build /opt/venv /opt/venv
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "worker"]
