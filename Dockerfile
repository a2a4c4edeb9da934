ARG PYTHON_VERSION=3.12


# Installs the pinned dependencies, and the project itself as it is in a checkout: in place.
# Debian rather than Alpine, because every pinned package has a wheel for it, on amd64 and arm64;
# nothing is compiled here.
FROM python:${PYTHON_VERSION}-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_INPUT=1

RUN python -m venv /opt/venv
WORKDIR /usr/src/app

COPY requirements.txt requirements-dev.txt ./
# flit_core is only there to make the `swpt_accounts` command.
RUN sed -n '/^flit-core==/,/^    #/p' requirements-dev.txt > requirements-build.txt \
    && /opt/venv/bin/pip install --require-hashes --only-binary=:all: \
        -r requirements.txt -r requirements-build.txt

COPY pyproject.toml ./
COPY swpt_accounts/ swpt_accounts/
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --no-index --editable . \
    && /opt/venv/bin/pip uninstall --yes flit_core pip


# What runs. It needs no capabilities, and writes to nothing but its logs and /tmp.
FROM python:${PYTHON_VERSION}-slim-trixie AS run

# psql is for operators.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 swpt_accounts \
    && useradd --uid 10001 --gid 10001 --home-dir /usr/src/app --no-create-home \
        --shell /bin/sh swpt_accounts

ENV PATH="/opt/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1

WORKDIR /usr/src/app
COPY --from=build /opt/venv /opt/venv
COPY LICENSE* protocol.rst pyproject.toml ./
COPY docker/entrypoint.sh docker/gunicorn.conf.py docker/supervisord.conf docker/
COPY migrations/ migrations/
COPY swpt_accounts/ swpt_accounts/
RUN python -m compileall -q swpt_accounts \
    && chown -R swpt_accounts:swpt_accounts .

# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["/usr/src/app/docker/entrypoint.sh"]
CMD ["all"]
