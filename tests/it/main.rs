//! Behaviour through public faces.

mod support;

#[path = "../../examples/site/mod.rs"]
mod site;

mod random_kills;
mod scripted;
