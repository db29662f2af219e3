//! A database file that is read and never changed: what redb writes to open it stays in memory.
//!
//! redb cannot open a file to read alone if a process that had it open was killed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::Mutex,
};

use ::redb::StorageBackend;

use crate::sync::std_lock as lock;

const BLOCK: usize = 4096;

#[derive(Debug)]
pub(super) struct Overlay(Mutex<OverlayState>);

#[derive(Debug)]
struct OverlayState {
    file: File,
    length: u64,
    /// The blocks that were written, by where they start.
    written: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn over(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self(Mutex::new(OverlayState { file, length, written: BTreeMap::new() })))
    }
}

impl OverlayState {
    /// The block that starts at this offset, as it is now. What is beyond the end of the file is
    /// zero.
    fn block(&mut self, start: u64) -> io::Result<Vec<u8>> {
        if let Some(written) = self.written.get(&start) {
            return Ok(written.clone());
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(start))?;
        (&mut self.file).take(BLOCK as u64).read_to_end(&mut bytes)?;
        bytes.resize(BLOCK, 0);
        Ok(bytes)
    }
}

/// The blocks of a range: where each starts, and the places in it and in the range.
fn blocks(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = at - at % BLOCK as u64;
        let within = usize::try_from(at - start).unwrap_or_default();
        let part = (BLOCK - within).min(length - done);
        let block = (start, within..within + part, done..done + part);
        done += part;
        (part > 0).then_some(block)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = lock(&self.0);
        if offset.saturating_add(out.len() as u64) > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (start, within, range) in blocks(offset, out.len()) {
            out[range].copy_from_slice(&state.block(start)?[within]);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        lock(&self.0).length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.length = state.length.max(offset.saturating_add(data.len() as u64));
        for (start, within, range) in blocks(offset, data.len()) {
            let mut block = state.block(start)?;
            block[within].copy_from_slice(&data[range]);
            state.written.insert(start, block);
        }
        Ok(())
    }
}
