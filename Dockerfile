# The locked environment and the project, for a CPU:
#
#   docker build -t mlplab .
#   docker run --rm -v "$PWD/logs:/home/researcher/project/logs" mlplab make train ARGS="data=wine"
#
# pip's PyTorch for Linux brings gigabytes of GPU libraries; TORCH_INDEX names an index of CPU builds instead:
#   docker build --build-arg TORCH_INDEX=… -t mlplab .
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS machine

# git, as a run records its commit; a compiler, as torch.compile calls one.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*

# Files in a mounted folder belong to this user: --build-arg UID=$(id -u)
ARG UID=1000
RUN useradd --create-home --uid ${UID} researcher \
    && install --directory --owner researcher /home/researcher/project /home/researcher/project/logs
USER researcher
WORKDIR /home/researcher/project

FROM machine AS project

# First what the environment is made of, so that a change of code does not install it again.
COPY --chown=researcher Makefile README.md constraints.txt pyproject.toml ./
ARG TORCH_INDEX=
RUN if [ -n "${TORCH_INDEX}" ]; then \
        python3 -m venv .venv \
        && .venv/bin/pip install --no-cache-dir -c constraints.txt --index-url "${TORCH_INDEX}" torch; \
    fi
RUN mkdir -p src/mlplab && touch src/mlplab/__init__.py \
    && PIP_NO_CACHE_DIR=1 make .venv/installed

COPY --chown=researcher . .
CMD ["make", "train"]
