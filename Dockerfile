# syntax=docker/dockerfile:1
# The image of all roles: `docker build --tag registry.example.com/countersign:0.1.0 .`
# The argument of the container is the role: order-service, notification-worker, migrate, or an operator command.

# Both stages are Debian 13: what is linked in the first is what the second has.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-trixie
# C library, certificates and nothing else; no shell. Give name@sha256:… to pin the very bytes.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY proto proto
COPY migrations migrations
COPY services services
# Part of the workspace, so cargo wants to see it; not part of the image.
COPY tests tests
# The caches outlive the layer, so the program is moved out of the one it was built in.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --package countersign \
    && install -D --mode=0755 target/dist/countersign /out/countersign

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/countersign /usr/local/bin/countersign
# The number, not the name: Kubernetes' runAsNonRoot cannot look names up.
USER 65532:65532
# orders; messages; pages and callbacks
EXPOSE 50051 50052 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/countersign"]
CMD ["--help"]
