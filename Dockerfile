# Lung lesion explorer. For research and education, not for clinical use.
#
#   CUDA:  docker build --tag lungvae:cuda .
#   CPU:   docker build --tag lungvae --build-arg TORCH_INDEX=ADDRESS .
#
# ADDRESS is the index of wheels without CUDA that PyTorch's installation page names ("Compute Platform: CPU");
# without it the image takes several gigabytes more, and works on a CPU all the same.
#
# Started as it is, it refuses to serve without a sign-in and says how to set one up (docs/server.md).
FROM python:3.12-slim

# Empty: pip's own index, whose wheels of PyTorch for Linux bring CUDA with them.
ARG TORCH_INDEX=""

RUN useradd --uid 10001 --create-home --home-dir /srv/lungvae lungvae
WORKDIR /opt/lungvae

# PyTorch first, in a layer of its own: it is the largest by far and changes least.
COPY constraints.txt ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "$(grep ^torch== constraints.txt)"
COPY pyproject.toml README.md LICENSE app.py ./
COPY .streamlit/config.toml .streamlit/config.toml
COPY lungvae_core lungvae_core
COPY pages pages
COPY models models
COPY docs/seeds.json docs/seeds.json
RUN pip install --no-cache-dir --constraint constraints.txt --editable ".[server]"

USER lungvae
WORKDIR /srv/lungvae
# All that the server makes lies in one volume; caches of libraries need no place in it.
RUN mkdir -p data runs workspace
VOLUME /srv/lungvae
ENV HOME=/tmp MPLCONFIGDIR=/tmp NUMBA_CACHE_DIR=/tmp/numba PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 8501
HEALTHCHECK --start-period=60s --interval=30s --timeout=10s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://localhost:8501/api/health', timeout=8)"]
CMD ["lungvae", "app", "--public", "--log-json"]
