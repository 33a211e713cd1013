//! HTTP/JSON on the Unix socket; the only importer of axum.
