//! A proxy as tests need it: to names and addresses that they make up.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Egress, Limits};
use crate::fetch::{AddressRules, CheckedResolver, Lookup, SystemLookup};
use crate::model::task::FetchSpec;
use crate::model::visit::BoxFuture;

/// Every address is permitted.
struct Anything;

impl AddressRules for Anything {
    fn permits(&self, _: &str, _: u16, _: IpAddr) -> bool {
        true
    }
}

/// A proxy that connects to everything.
pub async fn anywhere() -> Arc<Egress> {
    anywhere_within(Limits::of(&FetchSpec::default())).await
}

/// The same, with these limits.
pub async fn anywhere_within(limits: Limits) -> Arc<Egress> {
    let resolver = CheckedResolver::new(Arc::new(Anything), Arc::new(SystemLookup));
    Arc::new(Egress::open(resolver, limits).await.expect("a free port"))
}

/// Answers with the next of its sets at each question, and with the last one ever after.
pub struct Changing(pub std::sync::Mutex<Vec<Vec<IpAddr>>>);

impl Changing {
    /// Answers in this order.
    pub fn new(sets: &[&[&str]]) -> Arc<Changing> {
        let parse = |set: &&[&str]| set.iter().map(|text| text.parse().expect("an address")).collect();
        Arc::new(Changing(std::sync::Mutex::new(sets.iter().map(parse).collect())))
    }
}

impl Lookup for Changing {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut sets = self.0.lock().expect("no panic");
        let answer = if sets.len() > 1 { sets.remove(0) } else { sets[0].clone() };
        Box::pin(async move { Ok(answer) })
    }
}
