//! What operators ordered, between the store's own memory and the checkpoint, from which a lost store takes it back.

use std::collections::BTreeMap;

use crate::crawl::committer::{META_PAUSED, META_RELEASED, META_RETRIED};
use crate::crawl::session::{META_CANCELLED, META_EXTENSION};
use crate::model::checkpoint::Orders;
use crate::model::ids::CommitSeq;
use crate::model::outcome::{FailureClass, ParkReason, SkipReason};

type Meta = BTreeMap<String, String>;

/// What the store remembers of orders.
pub fn from_meta(meta: &Meta) -> Orders {
    let until = |prefix: &'static str| {
        let below = meta.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix));
        below.filter_map(move |(key, value)| Some((&key[prefix.len()..], value.parse::<CommitSeq>().ok()?)))
    };
    Orders {
        paused: meta.contains_key(META_PAUSED),
        cancelled: meta.contains_key(META_CANCELLED),
        extension: meta.get(META_EXTENSION).and_then(|text| serde_json::from_str(text).ok()),
        released_until: until(META_RELEASED).filter_map(|(word, seq)| Some((ParkReason::parse(word)?, seq))).collect(),
        retried_until: until(META_RETRIED).filter_map(|(word, seq)| Some((FailureClass::parse(word)?, seq))).collect(),
        poison_retried_until: until(META_RETRIED)
            .find(|(word, _)| *word == SkipReason::Poison.as_str())
            .map(|(_, seq)| seq),
    }
}

/// The same as a store keeps it.
pub fn to_meta(orders: &Orders) -> Meta {
    let mut meta = Meta::new();
    let mut put = |key: String, value: String| drop(meta.insert(key, value));
    if orders.paused {
        put(META_PAUSED.to_owned(), "1".to_owned());
    }
    if orders.cancelled {
        put(META_CANCELLED.to_owned(), "1".to_owned());
    }
    if let Some(text) = orders.extension.and_then(|extension| serde_json::to_string(&extension).ok()) {
        put(META_EXTENSION.to_owned(), text);
    }
    for (reason, seq) in &orders.released_until {
        put(format!("{META_RELEASED}{reason}"), seq.to_string());
    }
    for (class, seq) in &orders.retried_until {
        put(format!("{META_RETRIED}{class}"), seq.to_string());
    }
    if let Some(seq) = orders.poison_retried_until {
        put(format!("{META_RETRIED}{}", SkipReason::Poison), seq.to_string());
    }
    meta
}

/// The orders in sentences, for whoever reads a checkpoint.
pub fn in_words(orders: &Orders) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(seq) = orders.released_until.values().max() {
        said.push(format!("parked URLs were released by the operator, up to commit {seq}"));
    }
    if let Some(seq) = orders.retried_until.values().max() {
        said.push(format!("failed URLs were queued again by the operator, up to commit {seq}"));
    }
    if let Some(seq) = orders.poison_retried_until {
        said.push(format!("URLs set aside as poison were queued again by the operator, up to commit {seq}"));
    }
    if let Some(from) = orders.extension {
        said.push(format!("limits count from {} pages on: the operator extended the session", from.pages));
    }
    said
}

/// Whether what was parked in this commit was released later.
pub fn released(orders: &Orders, reason: ParkReason, seq: CommitSeq) -> bool {
    orders.released_until.get(&reason).is_some_and(|until| seq <= *until)
}

/// Whether what failed in this commit was queued again later.
pub fn retried(orders: &Orders, class: FailureClass, seq: CommitSeq) -> bool {
    orders.retried_until.get(&class).is_some_and(|until| seq <= *until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::Extension;

    #[test]
    fn orders_come_back_as_they_were_given() {
        #[track_caller]
        fn check(orders: Orders, keys: usize) {
            let meta = to_meta(&orders);
            assert_eq!((from_meta(&meta), meta.len()), (orders, keys), "{meta:?}");
        }
        check(Orders::default(), 0);
        check(Orders { paused: true, ..Orders::default() }, 1);
        check(Orders { cancelled: true, ..Orders::default() }, 1);
        let released_until = ParkReason::ALL.iter().map(|reason| (*reason, 7)).collect();
        check(Orders { released_until, ..Orders::default() }, ParkReason::ALL.len());
        let retried_until = FailureClass::ALL.iter().map(|class| (*class, 9)).collect();
        let all = Orders { retried_until, poison_retried_until: Some(8), ..Orders::default() };
        assert_eq!(in_words(&all).len(), 2);
        check(all, FailureClass::ALL.len() + 1);
        let extension = Some(Extension { pages: 20, bytes: 1, failures: 2, active_ms: 3 });
        check(Orders { extension, ..Orders::default() }, 1);
    }

    #[test]
    fn an_order_holds_for_what_it_found_and_not_for_what_came_later() {
        let reason = ParkReason::ALL[0];
        let orders = Orders { released_until: [(reason, 7)].into(), ..Orders::default() };
        assert!(released(&orders, reason, 7) && !released(&orders, reason, 8));
        assert!(!released(&orders, ParkReason::ALL[1], 1) && !retried(&orders, FailureClass::Timeout, 1));
        let orders = Orders { retried_until: [(FailureClass::Timeout, 7)].into(), ..Orders::default() };
        assert!(retried(&orders, FailureClass::Timeout, 7) && !retried(&orders, FailureClass::Timeout, 8));
    }
}
