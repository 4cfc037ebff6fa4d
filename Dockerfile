# Redescent on CPUs: docker build -t redescent . && docker run -v "$PWD/logs:/logs" redescent submit demo --wait
FROM python:3.12-slim

# the index of CPU builds of torch; the pins of requirements.txt decide the versions
ARG PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
ENV PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1 REDESCENT_LOGS=/logs

RUN useradd --create-home redescent && mkdir /logs && chown redescent /logs
WORKDIR /opt/redescent
COPY requirements.txt requirements-landscape.txt ./
RUN pip install ${PIP_ARGS} -r requirements.txt \
 && pip install ${PIP_ARGS} --no-deps -r requirements-landscape.txt
COPY . .
RUN pip install --no-deps --no-build-isolation -e .

USER redescent
VOLUME /logs
ENTRYPOINT ["redescent"]
CMD ["--help"]
