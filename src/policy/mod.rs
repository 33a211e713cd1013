//! Decisions: pure, synchronous, total. `now` and randomness are arguments.

pub mod address;
pub mod admission;
pub mod alerts;
pub mod breaker;
pub mod delay;
pub mod health;
pub mod hints;
pub mod hosts;
pub mod limits;
pub mod oom;
pub mod pressure;
pub mod reconnect;
pub mod recovery;
pub mod render;
pub mod retention;
pub mod retry;
pub mod robots;
pub mod scope;
pub mod settle;
pub mod tab_kind;
pub mod tasks;
pub mod traps;
