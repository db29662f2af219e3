//! Who owns a name: of all breakers of one name on a store, the youngest that lives.
//!
//! Only the owner is saved. A breaker that is built takes over the state of the owner before it,
//! and when the owner is dropped, the youngest that is left, its *successor*, takes over its state.
//! Until that is done, the new owner is not saved: its state is not the newest one yet.
//!
//! ```text
//!   join             a younger one joins
//! --------> Owner ------------------------> Superseded
//!           |  ^                                |
//!    depart |  +--------------------------------+
//!           v             the owner goes
//!       Departing
//! ```
//!
//! Nothing here calls a breaker or takes a lock.

use std::{collections::hash_map, sync::Arc, time::SystemTime};

use super::{entry::Entry, hashes::ByHash};

/// The entries of a store by their names.
#[derive(Default)]
pub(super) struct Owners {
    by_hash: ByHash<Members>,
}

/// The entries whose names have the same hash, nearly always those of one name. Of each name, first
/// those whose breakers are gone, in the order in which they went, and then the others, the oldest
/// first.
enum Members {
    One(Member),
    Several(Vec<Member>),
}

struct Member {
    entry: Arc<Entry>,
    role: Role,
    /// The entry whose breaker's state this one's still has to take over. It outlasts a younger one
    /// that joins: the state is where the older one continues in memory.
    before: Option<Arc<Entry>>,
}

enum Role {
    Owner,
    /// Not the owner since then.
    Superseded(SystemTime),
    /// The breaker is gone; its last state waits to be saved.
    Departing,
}

/// What a new entry means to the others of its name.
pub(super) enum Joined {
    /// It is the only one.
    Alone,
    /// It takes over from this one, which owned the name until now.
    Superseded(Arc<Entry>),
    /// It takes over from this one, whose breaker is gone.
    After(Arc<Entry>),
}

impl Owners {
    /// Adds an entry, which owns the name from now on.
    pub(super) fn join(&mut self, entry: &Arc<Entry>, now: impl FnOnce() -> SystemTime) -> Joined {
        let hash = entry.hash;
        if let hash_map::Entry::Vacant(vacant) = self.by_hash.entry(hash) {
            let entry = Arc::clone(entry);
            vacant.insert(Members::One(Member { entry, role: Role::Owner, before: None }));
            return Joined::Alone;
        }
        let mut joined = Joined::Alone;
        let mut before = None;
        if let Some(last) = self.by_hash.get_mut(&hash).and_then(|it| it.last_mut(entry)) {
            before = Some(last.state_holder());
            let last_entry = Arc::clone(&last.entry);
            if last.lives() {
                last.role = Role::Superseded(now());
                joined = Joined::Superseded(last_entry);
            } else {
                joined = Joined::After(last_entry);
            }
        }
        let member = Member { entry: Arc::clone(entry), role: Role::Owner, before };
        self.insert_with(hash, |members| members.push(member));
        joined
    }

    /// The entry whose breaker's state this one's still has to take over.
    pub(super) fn before(&self, entry: &Entry) -> Option<&Arc<Entry>> {
        self.member(entry)?.before.as_ref()
    }

    /// Whether the state to take over is still that of `before`.
    pub(super) fn is_before(&self, before: &Entry, entry: &Entry) -> bool {
        self.before(entry).is_some_and(|it| std::ptr::eq(Arc::as_ptr(it), before))
    }

    /// The state has been taken over.
    pub(super) fn settle(&mut self, entry: &Entry) {
        if let Some(member) = self.member_mut(entry) {
            member.before = None;
        }
    }

    /// Since when another breaker owns the name.
    pub(super) fn superseded_since(&self, entry: &Entry) -> Option<SystemTime> {
        match self.member(entry)?.role {
            Role::Superseded(since) => Some(since),
            _ => None,
        }
    }

    /// Whether another breaker of the name lives.
    pub(super) fn has_others(&self, entry: &Entry) -> bool {
        self.members(entry).any(|member| member.lives() && !member.is(entry))
    }

    /// Whether a breaker of the name is gone, and what is stored of it is still to be changed.
    pub(super) fn has_departing(&self, entry: &Entry) -> bool {
        self.members(entry).any(|member| !member.lives())
    }

    /// The entry whose breaker owns the name.
    pub(super) fn owner(&self, entry: &Entry) -> Option<&Arc<Entry>> {
        let owner = self.members(entry).filter(|member| member.lives()).last();
        owner.map(|member| &member.entry)
    }

    /// The breaker is gone, and its last state waits to be saved. Returns the successor, if there
    /// is one.
    pub(super) fn depart(&mut self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let hash = entry.hash;
        if let Some(Members::One(member)) = self.by_hash.get_mut(&hash) {
            (member.role, member.before) = (Role::Departing, None);
            return None;
        }
        let member = self.take(entry)?;
        let successor = self.appoint_successor(&member);
        let departing = Member { role: Role::Departing, before: None, ..member };
        self.insert_with(hash, |members| {
            let is_departing = |it: &Member| !it.lives() && it.entry.key == entry.key;
            let index = members.iter().rposition(is_departing).map_or(0, |last| last + 1);
            members.insert(index, departing);
        });
        successor
    }

    /// The entry is gone. Returns the successor, if there is one.
    pub(super) fn remove(&mut self, entry: &Entry) -> Option<Arc<Entry>> {
        let member = self.take(entry)?;
        self.appoint_successor(&member)
    }

    /// The entries of the name whose last states are older than what this entry has saved.
    pub(super) fn departed_before(&self, entry: &Entry) -> Vec<Arc<Entry>> {
        let older = self.members(entry).take_while(|it| !it.lives() && !it.is(entry));
        older.map(|member| Arc::clone(&member.entry)).collect()
    }

    /// Appoints the successor of a member that was taken out, if it was the owner.
    fn appoint_successor(&mut self, former: &Member) -> Option<Arc<Entry>> {
        if matches!(former.role, Role::Superseded(_) | Role::Departing) {
            return None;
        }
        let hash = former.entry.hash;
        let successor = self.by_hash.get_mut(&hash)?.last_mut(&former.entry)?;
        if !successor.lives() {
            return None;
        }
        successor.role = Role::Owner;
        successor.before = Some(former.state_holder());
        Some(Arc::clone(&successor.entry))
    }

    fn insert_with(&mut self, hash: u64, insert: impl FnOnce(&mut Vec<Member>)) {
        let mut members = self.by_hash.remove(&hash).map(Members::into_vec).unwrap_or_default();
        insert(&mut members);
        self.put_back(hash, members);
    }

    /// Takes the member out.
    fn take(&mut self, entry: &Entry) -> Option<Member> {
        let hash = entry.hash;
        let mut members = match self.by_hash.remove(&hash)? {
            Members::One(member) if member.is(entry) => return Some(member),
            members => members.into_vec(),
        };
        let index = members.iter().position(|member| member.is(entry));
        let taken = index.map(|index| members.remove(index));
        self.put_back(hash, members);
        taken
    }

    fn put_back(&mut self, hash: u64, mut members: Vec<Member>) {
        if members.len() > 1 {
            self.by_hash.insert(hash, Members::Several(members));
        } else if let Some(last) = members.pop() {
            self.by_hash.insert(hash, Members::One(last));
        }
    }

    fn member(&self, entry: &Entry) -> Option<&Member> {
        self.members(entry).find(|member| member.is(entry))
    }

    fn member_mut(&mut self, entry: &Entry) -> Option<&mut Member> {
        let hash = entry.hash;
        self.by_hash.get_mut(&hash)?.as_mut_slice().iter_mut().find(|member| member.is(entry))
    }

    /// The members of the entry's name.
    fn members(&self, entry: &Entry) -> impl Iterator<Item = &Member> {
        let members = self.by_hash.get(&entry.hash).map_or(&[][..], Members::as_slice);
        members.iter().filter(|member| member.entry.key == entry.key)
    }
}

impl Members {
    fn as_slice(&self) -> &[Member] {
        match self {
            Self::One(member) => std::slice::from_ref(member),
            Self::Several(members) => members,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Member] {
        match self {
            Self::One(member) => std::slice::from_mut(member),
            Self::Several(members) => members,
        }
    }

    fn into_vec(self) -> Vec<Member> {
        match self {
            Self::One(member) => vec![member],
            Self::Several(members) => members,
        }
    }

    /// The last member of the entry's name.
    fn last_mut(&mut self, entry: &Entry) -> Option<&mut Member> {
        self.as_mut_slice().iter_mut().rfind(|member| member.entry.key == entry.key)
    }
}

impl Member {
    fn lives(&self) -> bool {
        !matches!(self.role, Role::Departing)
    }

    fn is(&self, entry: &Entry) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.entry), entry)
    }

    /// The entry whose breaker has the state that the name's next owner takes over.
    fn state_holder(&self) -> Arc<Entry> {
        Arc::clone(self.before.as_ref().unwrap_or(&self.entry))
    }
}
