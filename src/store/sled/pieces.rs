//! Values that are too large for a page.
//!
//! sled writes a page of more than some 128 kB to a file of its own. If that file is damaged, sled
//! may lose what is beside the value, or the whole folder; if the disk is full, it waits forever.
//! So a large value is kept in pieces, in a tree of which no page becomes that large, and a header
//! stands in its place. Both are written as one.
//!
//! Earlier versions kept such values whole. They are read as they are, and kept in pieces once they
//! are saved again.

use std::{collections::BTreeMap, convert::Infallible};

use ::sled::{
    Batch, Db, Error as SledError, Transactional as _, Tree, transaction::TransactionError,
};

/// The tree of the pieces.
const TREE: &[u8] = b"pieces";

/// The bytes of a piece, and of the largest value that is kept whole. A page has 17 of them at
/// most, and their keys.
const PIECE: usize = 4000;

/// What a header begins with. A value that begins with it too is kept in pieces.
const MARK: &[u8; 16] = b"\0in-pieces\0\xb3\x17\xe4\x9c\0";

/// Stands in the place of a value that is kept in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// What the keys of the pieces begin with.
    id: u64,
    length: u64,
    checksum: u32,
}

/// The pieces are not those that the header describes. This is the first one, if it is there: a
/// snapshot begins with its state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) Vec<u8>);

impl Header {
    fn of(id: u64, value: &[u8]) -> Self {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        Self { id, length, checksum: crc32fast::hash(value) }
    }

    /// The header in the place of a value. `None`: this is the value itself.
    pub(super) fn parse(stored: &[u8]) -> Option<Self> {
        let (id, rest) = stored.strip_prefix(MARK)?.split_first_chunk()?;
        let (length, checksum) = rest.split_first_chunk()?;
        Some(Self {
            id: u64::from_be_bytes(*id),
            length: u64::from_be_bytes(*length),
            checksum: u32::from_be_bytes(checksum.try_into().ok()?),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let Self { id, length, checksum } = self;
        [&MARK[..], &id.to_be_bytes(), &length.to_be_bytes(), &checksum.to_be_bytes()].concat()
    }

    fn key_of(&self, piece: u64) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.id.to_be_bytes());
        key[8..].copy_from_slice(&piece.to_be_bytes());
        key
    }

    fn pieces(&self) -> u64 {
        self.length.div_ceil(PIECE as u64)
    }

    /// Reads the value.
    pub(super) fn read(&self, db: &Db) -> Result<Result<Vec<u8>, Damaged>, SledError> {
        let mut value = Vec::new();
        if let Some(tree) = tree(db)? {
            let pieces = tree.range(self.key_of(0)..self.key_of(self.pieces()));
            for (number, piece) in (0..).zip(pieces) {
                let (key, bytes) = piece?;
                if *key != self.key_of(number) {
                    break;
                }
                value.extend_from_slice(&bytes);
            }
        }
        if Self::of(self.id, &value) == *self {
            return Ok(Ok(value));
        }
        // Also where no piece is missing: what is cut short is not taken for the whole.
        value.truncate(PIECE);
        Ok(Err(Damaged(value)))
    }
}

/// The tree, if there is one.
fn tree(db: &Db) -> Result<Option<Tree>, SledError> {
    let exists = db.tree_names().iter().any(|name| *name == TREE);
    exists.then(|| db.open_tree(TREE)).transpose()
}

fn is_kept_whole(value: &[u8]) -> bool {
    value.len() <= PIECE && !value.starts_with(MARK)
}

/// How many bytes stand in the place of a value.
pub(super) fn length_in_place(value: &[u8]) -> usize {
    if is_kept_whole(value) { value.len() } else { Header::of(0, &[]).encode().len() }
}

/// Sets values, all or none. `None` removes one. Of two for one key, the last counts.
pub(super) fn apply<'a>(
    db: &Db,
    changes: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
) -> Result<(), SledError> {
    let tree = tree(db)?;
    if tree.is_none() && changes.clone().filter_map(|(_, value)| value).all(is_kept_whole) {
        let mut values = Batch::default();
        changes.for_each(|(key, value)| set(&mut values, key.as_bytes(), value));
        return db.apply_batch(values);
    }
    let (mut values, mut pieces) = (Batch::default(), Batch::default());
    let newest: BTreeMap<&str, Option<&[u8]>> = changes.collect();
    for (key, value) in newest {
        let old = db.get(key)?.and_then(|stored| Header::parse(&stored));
        match value {
            Some(value) if !is_kept_whole(value) => {
                let id = old.map_or_else(|| fastrand::u64(..), |old| old.id);
                let header = Header::of(id, value);
                set(&mut values, key.as_bytes(), Some(&header.encode()));
                write_pieces(&mut pieces, header, value, old);
            }
            _ => {
                set(&mut values, key.as_bytes(), value);
                remove_pieces(&mut pieces, old, 0);
            }
        }
    }
    let tree = tree.map_or_else(|| db.open_tree(TREE), Ok)?;
    let applied = (&**db, &tree).transaction(|(in_place, in_pieces)| {
        in_pieces.apply_batch(&pieces)?;
        in_place.apply_batch(&values)?;
        Ok(())
    });
    applied.map_err(|error: TransactionError<Infallible>| match error {
        TransactionError::Storage(error) => error,
        TransactionError::Abort(never) => match never {},
    })
}

fn set(batch: &mut Batch, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => batch.insert(key, value),
        None => batch.remove(key),
    }
}

/// Writes the pieces of a value in the place of the old ones.
fn write_pieces(pieces: &mut Batch, header: Header, value: &[u8], old: Option<Header>) {
    for (piece, bytes) in (0..).zip(value.chunks(PIECE)) {
        pieces.insert(&header.key_of(piece), bytes);
    }
    remove_pieces(pieces, old, header.pieces());
}

fn remove_pieces(pieces: &mut Batch, old: Option<Header>, from: u64) {
    let Some(old) = old else { return };
    (from..old.pieces()).for_each(|piece| pieces.remove(&old.key_of(piece)));
}

#[cfg(test)]
mod tests {
    use super::{super::engine, *};

    fn read(db: &Db, key: &str) -> Option<Vec<u8>> {
        let stored = db.get(key).unwrap()?;
        Some(match Header::parse(&stored) {
            Some(header) => header.read(db).unwrap().unwrap(),
            None => stored.to_vec(),
        })
    }

    #[test]
    fn values_of_all_sizes_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let db = engine::open(dir.path()).unwrap();
        let sizes = [0, 1, PIECE, PIECE + 1, 2 * PIECE, 300_000, 9 * PIECE + 7];
        for (round, size) in sizes.iter().chain(sizes.iter().rev()).enumerate() {
            let value = vec![u8::try_from(round).unwrap(); *size];
            let twice = [("a", Some(&b"before"[..])), ("b", None), ("a", Some(&*value))];
            apply(&db, twice.into_iter()).unwrap();
            assert_eq!(read(&db, "a").unwrap(), value);
            let pieces = tree(&db).unwrap().map_or(0, |tree| tree.len());
            assert_eq!(pieces, if *size > PIECE { size.div_ceil(PIECE) } else { 0 }, "{size}");
        }
    }

    #[test]
    fn a_value_that_looks_like_a_header_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let db = engine::open(dir.path()).unwrap();
        let value = Header::of(7, b"what").encode();
        apply(&db, [("a", Some(&*value))].into_iter()).unwrap();
        assert_eq!(read(&db, "a").unwrap(), value);
        apply(&db, [("a", None)].into_iter()).unwrap();
        assert_eq!((read(&db, "a"), tree(&db).unwrap().unwrap().len()), (None, 0));
    }

    #[test]
    fn pieces_that_are_not_those_of_the_header_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let db = engine::open(dir.path()).unwrap();
        let value = vec![b'x'; 10_000];
        apply(&db, [("a", Some(&*value))].into_iter()).unwrap();
        let header = Header::parse(&db.get("a").unwrap().unwrap()).unwrap();
        let tree = tree(&db).unwrap().unwrap();
        tree.insert(header.key_of(1), vec![b'y'; PIECE]).unwrap();
        assert!(header.read(&db).unwrap().is_err());
        tree.remove(header.key_of(1)).unwrap();
        assert!(header.read(&db).unwrap().is_err());
        db.drop_tree(TREE).unwrap();
        assert!(header.read(&db).unwrap().is_err());
    }
}
