# An image of `mamkpd` for CPUs; docs/docker.md shows its use.
FROM debian:trixie-slim AS base
# hadolint ignore=DL3008  # Debian's stable release brings fixes alone
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
# A layer of its own: a change of the package does not install its dependencies again.
COPY requirements.txt .
RUN python3 -m pip --python=/opt/mamkpd install --no-cache-dir --requirement=requirements.txt
COPY . .
# Data sets here are array_record files; pyarrow reads Parquet files, and takes 180 MB.
RUN python3 -m pip --python=/opt/mamkpd install --no-cache-dir '.[heic,hub,onnxruntime,serve]' \
    && python3 -m pip --python=/opt/mamkpd uninstall --yes pyarrow

FROM base
COPY --from=build /opt/mamkpd /opt/mamkpd
# Any user may write: who mounts a folder at /work wants results that are theirs (docker run --user).
RUN install -d -m 1777 /work /cache
# Huge pages make a model a fifth faster on a CPU.
ENV PATH=/opt/mamkpd/bin:$PATH \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1
USER 1000
WORKDIR /work
VOLUME ["/work", "/cache"]
# Process 1 ends by a SIGTERM only where a program handles it; Python handles SIGINT in all of them.
STOPSIGNAL SIGINT
ENTRYPOINT ["mamkpd"]
CMD ["--help"]
