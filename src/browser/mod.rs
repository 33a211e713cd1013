//! The only importer of chromiumoxide: launcher, pool, tabs, navigation.
