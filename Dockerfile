# An image of `mamkpd` for CPUs; docs/docker.md shows its use.
FROM debian:trixie-slim AS base
# hadolint ignore=DL3008  # Debian's stable release only gets fixes
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv --without-pip /opt/mamkpd
WORKDIR /source
# A separate layer, so that a change of the package does not reinstall its dependencies.
COPY requirements.txt .
RUN python3 -m pip --python=/opt/mamkpd install --no-cache-dir --requirement=requirements.txt
COPY . .
# pyarrow takes 180 MB, and only reads Parquet files: data sets here are array_record files.
RUN python3 -m pip --python=/opt/mamkpd install --no-cache-dir '.[heic,hub,onnxruntime,serve]' \
    && python3 -m pip --python=/opt/mamkpd uninstall --yes pyarrow

FROM base
COPY --from=build /opt/mamkpd /opt/mamkpd
# Any user may write, so that results in a mounted /work can belong to the caller (docker run --user).
RUN install -d -m 1777 /work /cache
# Huge pages make a model 20% faster on a CPU.
ENV PATH=/opt/mamkpd/bin:$PATH \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1
USER 1000
WORKDIR /work
VOLUME ["/work", "/cache"]
# As process 1, a program ends on SIGTERM only if it handles it. Python always handles SIGINT.
STOPSIGNAL SIGINT
ENTRYPOINT ["mamkpd"]
CMD ["--help"]
