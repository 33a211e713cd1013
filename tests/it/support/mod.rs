//! What the tests share: a world to crawl in, the real binary as a child, and the oracle.

// Modules use the parts they need.
#![allow(dead_code)]

pub mod child;
pub mod door;
pub mod http;
pub mod looker;
pub mod oracle;
pub mod poll;
pub mod proc;
pub mod schema;
pub mod skip;
pub mod small;
pub mod world;

pub use child::{Child, Crawld, Ended};
pub use world::World;
