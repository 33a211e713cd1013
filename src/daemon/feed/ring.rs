//! The newest events, kept once and shared by everybody who watches. Bounded by count and bytes; no I/O, no clock.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::event::EventId;

/// One event, written once.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its number.
    pub(super) id: EventId,
    /// The frame's text.
    pub(super) text: Bytes,
    /// State, not history: nobody who comes later is told.
    pub(super) fleeting: bool,
}

/// Events in the order in which they were told; each has a place, counted from 0 for ever.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The place of the oldest.
    first: u64,
    bytes: usize,
    /// Everything above this number that was told is here.
    floor: EventId,
    most: (usize, usize),
}

impl Ring {
    /// An empty ring that holds `entries` and `bytes` of text at most.
    pub(super) fn new(floor: EventId, entries: usize, bytes: usize) -> Self {
        Ring { entries: VecDeque::new(), first: 0, bytes: 0, floor, most: (entries, bytes) }
    }

    /// The place of the next one.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The number above which all is here.
    pub(super) fn floor(&self) -> EventId {
        self.floor
    }

    /// The newest.
    pub(super) fn newest(&self) -> Option<EventId> {
        self.entries.back().map(|entry| entry.id)
    }

    /// One more. The oldest make room.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.text.len();
        self.entries.push_back(entry);
        while self.entries.len() > self.most.0 || (self.bytes > self.most.1 && self.entries.len() > 1) {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.text.len();
            self.first += 1;
            self.floor = self.floor.max(oldest.id);
        }
    }

    /// `count` events up to `to` passed by and are not here, nor is anything before them any more.
    pub(super) fn passed(&mut self, count: u64, to: EventId) {
        self.first = self.next() + count;
        self.entries.clear();
        self.bytes = 0;
        self.floor = self.floor.max(to);
    }

    /// A lifetime begins with this number; what is here stays.
    pub(super) fn begin(&mut self, floor: EventId) {
        if self.entries.is_empty() {
            self.floor = floor;
        }
    }

    /// The place after this number; `None` when what follows it is not all here.
    pub(super) fn place_after(&self, id: EventId) -> Option<u64> {
        let at = self.entries.partition_point(|entry| entry.id <= id);
        (id >= self.floor).then_some(self.first + at as u64)
    }

    /// What stands from this place on, at most `most`, and how many were there before and are gone.
    pub(super) fn from(&self, place: u64, most: usize) -> (u64, impl Iterator<Item = &Entry>) {
        let lost = self.first.saturating_sub(place);
        let skip = usize::try_from(place.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.entries.len());
        (lost, self.entries.range(skip..).take(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u32) -> Entry {
        Entry { id: EventId::new(1, 1, index), text: Bytes::from("x".repeat(10)), fleeting: false }
    }

    fn ring(entries: usize, bytes: usize, pushed: u32) -> Ring {
        let mut ring = Ring::new(EventId::new(1, 1, 0), entries, bytes);
        (1..=pushed).for_each(|index| ring.push(entry(index)));
        ring
    }

    fn seen(ring: &Ring, place: u64) -> (u64, Vec<u32>) {
        let (lost, entries) = ring.from(place, 3);
        (lost, entries.map(|entry| entry.id.index).collect())
    }

    #[test]
    fn the_oldest_make_room_and_who_is_late_learns_how_many() {
        let ring = ring(4, 1_000, 10);
        assert_eq!((ring.next(), ring.floor().index, ring.newest().unwrap().index), (10, 6, 10));
        assert_eq!(seen(&ring, 2), (4, vec![7, 8, 9]));
        assert_eq!(seen(&ring, 8), (0, vec![9, 10]));
        assert_eq!(seen(&ring, 10), (0, vec![]));
        assert_eq!(seen(&ring, 99), (0, vec![]));
    }

    #[test]
    fn bytes_are_bounded_too_and_one_event_always_fits() {
        assert_eq!(ring(100, 35, 10).floor().index, 7);
        assert_eq!(ring(100, 5, 10).floor().index, 9);
    }

    #[test]
    fn a_number_has_a_place_while_all_that_follows_it_is_here() {
        let ring = ring(4, 1_000, 10);
        let place = |index| ring.place_after(EventId::new(1, 1, index));
        assert_eq!((place(5), place(6), place(8), place(10)), (None, Some(6), Some(8), Some(10)));
        assert_eq!(ring.place_after(EventId::new(2, 0, 0)), Some(10));
    }

    #[test]
    fn what_passed_by_counts_as_lost_for_those_who_wait() {
        let mut ring = ring(4, 1_000, 3);
        ring.passed(5, EventId::new(1, 2, 4));
        assert_eq!(seen(&ring, 1), (7, vec![]));
        assert_eq!(ring.place_after(EventId::new(1, 2, 3)), None);
        ring.push(Entry { id: EventId::new(1, 2, 5), ..entry(5) });
        assert_eq!(seen(&ring, 8), (0, vec![5]));
    }
}
