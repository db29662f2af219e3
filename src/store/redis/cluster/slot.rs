//! The slot of a key.

pub(in super::super) const SLOTS: u16 = 16384;

/// One of the [`SLOTS`].
pub(in super::super) type HashSlot = u16;

/// The slot of a key: of what is between its first `{` and the next `}`, unless that is empty, or
/// else of all of it.
pub(in super::super) fn slot(key: &[u8]) -> HashSlot {
    crc16(tag(key)) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{crc16, slot};

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // From `CLUSTER KEYSLOT`.
        let known: [(&str, u16); 8] = [
            ("", 0),
            ("somekey", 11058),
            ("foo{hash_tag}", 2515),
            ("{hash_tag}bar", 2515),
            ("bar{hash_tag}baz{other}", 2515),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar", 15278),
        ];
        for (key, expected) in known {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }
}
