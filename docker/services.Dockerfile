# Sender, receiver and the maker of secrets. No torch, no model, no worker.
FROM python:3.11.14-slim-bookworm AS build
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG DDSR_OTEL=""
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements/services.txt requirements/otel.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements/services.txt ${DDSR_OTEL:+-r requirements/otel.txt}
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY shared/*.py shared/
COPY shared/jobs shared/jobs
COPY services services
# The command `ddsr` needs the package `cli`, which is not here.
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps . && rm /opt/venv/bin/ddsr \
    && pip check --disable-pip-version-check && pip uninstall --yes --disable-pip-version-check setuptools pip

FROM python:3.11.14-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# Nothing is installed at run time: pip, setuptools and their bundled wheels go.
RUN rm -rf /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip*
# An empty volume takes owner and mode of the folder it is mounted on.
RUN groupadd --gid 10001 ddsr \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin ddsr \
    && install -d -o ddsr -g ddsr -m 0750 /var/lib/ddsr /var/lib/ddsr/redis /var/lib/ddsr/redis-service /var/lib/ddsr/redis-worker /var/lib/ddsr/api \
        /var/lib/ddsr/prometheus /var/lib/ddsr/grafana \
    && install -d -o ddsr -g ddsr -m 0700 /var/lib/ddsr/caller /var/lib/ddsr/service-keys \
    && install -d -o ddsr -g ddsr -m 0755 /var/lib/ddsr/worker-public
COPY --from=build /opt/venv /opt/venv
COPY docker/make_secrets.py stack/redis.conf /opt/ddsr/
USER 10001:10001
WORKDIR /opt/ddsr
EXPOSE 8001 8002
CMD ["python", "-m", "services.sender"]
