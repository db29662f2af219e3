//! What tests ask of a schedule.

use super::{
    super::{entries::EntryId, lanes::Lane, states::SaveState},
    Schedule, ScheduledEntry,
};

impl Schedule {
    /// Whether the entry waits in a lane.
    pub(in crate::write_behind) fn is_queued(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.queued.is_some())
    }

    /// Whether what the store holds of the entry is to be deleted.
    pub(in crate::write_behind) fn is_discarded(&self, id: EntryId) -> bool {
        self.slots.get(id).is_some_and(ScheduledEntry::is_discarded)
    }

    /// Compares what is counted and queued with the entries themselves.
    pub(in crate::write_behind) fn check(&self) {
        let slots: Vec<_> = self.slots.part(0, usize::MAX).into_iter().flatten().collect();
        let pending = slots.iter().filter(|(_, slot)| slot.is_pending()).count();
        assert_eq!(self.pending, pending);
        let departing = slots.iter().filter(|(_, slot)| slot.departure.is_some()).count();
        assert_eq!(self.departing.len(), departing);
        let mut queued: Vec<_> = [Lane::Transitions, Lane::Counts, Lane::Retry, Lane::Discards]
            .into_iter()
            .flat_map(|lane| self.lanes.all(lane).map(move |id| (id, lane)))
            .collect();
        queued.sort_unstable();
        let expected: Vec<_> =
            slots.iter().filter_map(|(id, slot)| Some((*id, slot.queued?.0))).collect();
        assert_eq!(queued, expected);
        for (_, slot) in slots {
            let lane = slot.queued.map(|(lane, _)| lane);
            match slot.save {
                SaveState::Failed => assert_eq!(lane, Some(Lane::Retry)),
                SaveState::Dirty => assert!(matches!(lane, Some(Lane::Transitions | Lane::Counts))),
                SaveState::Clean => {
                    assert!(matches!(lane, None | Some(Lane::Retry | Lane::Discards)));
                }
                SaveState::Saving => assert!(lane != Some(Lane::Retry)),
            }
        }
    }
}
