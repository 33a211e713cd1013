//! Maps of many short keys: hashed faster than the standard library does, and as little to be foreseen from outside.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map by quick hashes.
pub type QuickMap<K, V> = HashMap<K, V, Quick>;
/// A set by quick hashes.
pub type QuickSet<K> = HashSet<K, Quick>;

/// Makes hashers that begin with a number drawn once a process: whoever wants keys to collide would have to know it.
#[derive(Debug, Clone, Copy)]
pub struct Quick(u64);

impl Default for Quick {
    fn default() -> Self {
        static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
        Quick(*SEED)
    }
}

impl BuildHasher for Quick {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher(self.0)
    }
}

/// XXH3 for bytes, a folded multiplication for numbers.
#[derive(Debug)]
pub struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // An odd number whose bits are spread: that of the golden ratio.
        const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0 ^ number) * SPREAD;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_spread_over_the_table() {
        let quick = Quick::default();
        let spread = |hash: &dyn Fn(u64) -> u64| {
            // The upper seven bits choose within a group of the table, the lower ones the group.
            let low: HashSet<u64> = (0..4096).map(|n| hash(n) & 4095).collect();
            let high: HashSet<u64> = (0..4096).map(|n| hash(n) >> 57).collect();
            low.len() > 2000 && high.len() > 100
        };
        assert!(spread(&|n| quick.hash_one(n)));
        assert!(spread(&|n| quick.hash_one(n << 32)));
        assert!(spread(&|n| quick.hash_one((n as u32, [0u8; 16]))));
        assert!(spread(&|n| quick.hash_one(format!("http://h.example/{n}"))));
        assert_ne!(quick.hash_one("ab"), quick.hash_one("ba"));
    }
}
