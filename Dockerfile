# The poll worker. `docker build -t memolist-tts .`; compose.yaml runs it with a PostgreSQL.
# The full image has the compiler that miniaudio needs on arm64, where it publishes no wheel.
FROM python:3.13 AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /build
COPY requirements/poll.txt requirements/
RUN /opt/venv/bin/pip install --require-hashes -r requirements/poll.txt
COPY pyproject.toml README.md LICENSE ./
COPY src/memolist_tts src/memolist_tts
COPY db/migrations db/migrations
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home memolist \
  && mkdir /audio && chown memolist /audio
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
  LOCAL_STORAGE_PATH=/audio
USER memolist
WORKDIR /audio
VOLUME /audio
# No port to ask: healthy is who reaches the database and finds all it needs there.
HEALTHCHECK --interval=60s --timeout=20s --start-period=30s --retries=3 \
  CMD ["memolist-tts", "status"]
# SIGTERM, Docker's own, makes `poll` hand its job back: allow it 30 s (docker stop -t 30).
ENTRYPOINT ["memolist-tts"]
CMD ["poll"]
