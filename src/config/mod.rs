//! What the operator set, and where each value came from.
