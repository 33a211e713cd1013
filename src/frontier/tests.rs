//! The frontier against a naive model.
