//! Words: the plain data every other layer speaks in. No I/O, no async, no clock.

pub mod checkpoint;
pub mod conduct;
pub mod cookie;
pub mod counters;
pub mod duration;
pub mod endpoint;
pub mod heartbeat;
pub mod host;
pub mod ids;
pub mod kept;
pub mod lease;
pub mod login;
pub mod long;
pub mod outcome;
pub mod problem;
pub mod proxy;
pub mod quick;
pub mod record;
pub mod session;
pub mod task;
pub mod text;
pub mod time;
pub mod url;
pub mod visit;
pub mod watched;
