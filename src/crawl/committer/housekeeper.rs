//! (in work)
use super::engine::Engine;

pub(super) struct Housekeeper;

impl Housekeeper {
    pub(super) fn idle(&mut self) {}

    pub(super) fn after_commit(&mut self, _engine: &mut Engine) {}

    pub(super) fn stop(&mut self) {}
}
