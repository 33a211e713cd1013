//! Mutexes whose data is whole whatever happens: what is locked is changed in one step each.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic elsewhere. Only for data that no holder can leave half-changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
