# The main job in minutes, on CPUs:
#     docker build --tag repr-eval . && docker run --rm --volume "$PWD/demo:/repr-eval/demo" repr-eval
# Anything else:
#     docker run --rm repr-eval .venv/bin/repr-eval doctor
FROM python:3.12-slim

# The compiler is for the L2-SVM's products; make is for the Makefile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /repr-eval
COPY . .

RUN PIP_NO_CACHE_DIR=1 make setup

CMD ["make", "demo"]
