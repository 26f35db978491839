# Debian's PostgreSQL with the variables of the official image that docker/compose.yaml uses, where none can be pulled.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql && rm -rf /var/lib/apt/lists/* \
 && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ || true
COPY postgres-entrypoint.sh /
ENTRYPOINT ["/postgres-entrypoint.sh"]
