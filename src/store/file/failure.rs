//! What a failed operation on a file says about the others.

use std::io::{self, ErrorKind};

/// The process, or the system, has no file descriptor left. The same on every Unix.
const DESCRIPTORS: [i32; 2] = [24, 23];

/// Whether every other file would meet this error, too: there is nothing wrong with this one.
pub(super) fn concerns_all_files(error: &io::Error) -> bool {
    let are_used_up = |number| cfg!(unix) && DESCRIPTORS.contains(&number);
    matches!(
        error.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::OutOfMemory
    ) || error.raw_os_error().is_some_and(are_used_up)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_lacks_is_no_fault_of_a_file() {
        let concerns_all = |number| concerns_all_files(&io::Error::from_raw_os_error(number));
        for (name, number) in [("EMFILE", 24), ("ENFILE", 23), ("ENOMEM", 12), ("ENOSPC", 28)] {
            assert!(concerns_all(number), "{name}");
        }
        for (name, number) in [("EIO", 5), ("EACCES", 13), ("EISDIR", 21)] {
            assert!(!concerns_all(number), "{name}");
        }
    }
}
