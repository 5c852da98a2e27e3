# Graft on a machine with an NVIDIA card:
#
#   docker build -t graft .
#   docker run --init --gpus all -p 127.0.0.1:7860:7860 -v graft-data:/data -v graft-models:/models graft
#
# The plain Python image, not nvidia/cuda: torch's and bitsandbytes' wheels bring the CUDA libraries
# themselves, and the driver comes from the host with --gpus. A second copy would be gigabytes unused.
# Without a card it runs as well, on the processor.
FROM python:3.11-slim

# Triton, with which torch compiles for the card, calls a C compiler. The allocator is for training
# on the processor (core/computing.py).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libtcmalloc-minimal4 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /graft
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt

COPY app.py ./
COPY core core
COPY jobs jobs
COPY ui ui
COPY starter starter

RUN useradd --create-home --uid 1000 graft \
    && install --directory --owner graft /data /models
USER graft

# Every address of the container: which of them is reached from outside is said by `docker run -p`.
ENV GRAFT_HOST=0.0.0.0 \
    GRAFT_ALLOW_OPEN=1 \
    GRAFT_PORT=7860 \
    GRAFT_DATA=/data \
    HF_HOME=/models \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME ["/data", "/models"]
EXPOSE 7860

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['GRAFT_PORT'], timeout=8)"]

CMD ["python", "app.py", "--no-browser"]
