//! Tables of text.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

pub(super) fn time(seconds: f64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// The format of times ends with the year 9999.
pub(super) fn text(time: SystemTime) -> Option<String> {
    const LAST: u64 = 253_402_300_799;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since.as_secs() <= LAST).then(|| humantime::format_rfc3339_seconds(time).to_string())
}

/// Aligns columns to their widest cells.
pub(super) fn aligned<S: AsRef<str>, const COLUMNS: usize>(rows: &[[S; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].as_ref().chars().count()).max();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a `String` does not fail.
            let _ = write!(line, "{:width$}  ", cell.as_ref());
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Counts how often it is read.
    struct Counted<'a>(String, &'a Cell<usize>);

    impl AsRef<str> for Counted<'_> {
        fn as_ref(&self) -> &str {
            self.1.set(self.1.get() + 1);
            &self.0
        }
    }

    #[test]
    fn columns_are_aligned_to_their_widest_cells() {
        let rows = [["NAME", "STATE", ""], ["é", "open", ""], ["payments", "closed", "x"]];
        assert_eq!(aligned(&rows), "NAME      STATE\né         open\npayments  closed  x\n");
        assert_eq!(aligned::<&str, 2>(&[]), "");
    }

    #[test]
    fn each_cell_is_read_twice_however_many_there_are() {
        let reads = Cell::new(0);
        let rows: Vec<_> = (0..1000)
            .map(|row| [row.to_string(), String::new()].map(|cell| Counted(cell, &reads)))
            .collect();
        assert_eq!(aligned(&rows).lines().count(), 1000);
        assert_eq!(reads.get(), 2 * 2 * 1000);
    }
}
