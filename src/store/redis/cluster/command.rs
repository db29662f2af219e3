//! Commands, read back from the bytes that are sent.

use super::slot::{HashSlot, slot};

pub(super) struct PackedCommand<'a> {
    /// As it is sent.
    pub(super) bytes: &'a [u8],
    arguments: Vec<&'a [u8]>,
}

impl<'a> PackedCommand<'a> {
    /// Reads all of these commands. `None`: they are none.
    pub(super) fn all(mut bytes: &'a [u8]) -> Option<Vec<Self>> {
        let mut commands = Vec::new();
        while !bytes.is_empty() {
            let (command, rest) = Self::first(bytes)?;
            commands.push(command);
            bytes = rest;
        }
        Some(commands)
    }

    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (count, mut rest) = number(bytes, b'*')?;
        let mut arguments = Vec::new();
        for _ in 0..count {
            let (length, after) = number(rest, b'$')?;
            let (argument, after) = after.split_at_checked(length)?;
            arguments.push(argument);
            rest = after.strip_prefix(b"\r\n")?;
        }
        let length = bytes.len() - rest.len();
        Some((Self { bytes: &bytes[..length], arguments }, rest))
    }

    /// The slot of its keys: those of one command are all in one, but for [`keys_apart`].
    ///
    /// [`keys_apart`]: Self::keys_apart
    pub(super) fn slot(&self) -> Option<HashSlot> {
        let key = match *self.arguments.first()? {
            b"EVAL" | b"EVALSHA" => 3,
            _ => 1,
        };
        self.arguments.get(key).map(|key| slot(key))
    }

    /// The keys of an `MGET`, which may be in many slots.
    pub(super) fn keys_apart(&self) -> Option<&[&'a [u8]]> {
        let (name, keys) = self.arguments.split_first()?;
        (*name == b"MGET").then_some(keys)
    }
}

/// A number after this sign, and what comes after its line.
fn number(bytes: &[u8], sign: u8) -> Option<(usize, &[u8])> {
    let line = bytes.iter().position(|byte| *byte == b'\r')?;
    let digits = bytes[..line].strip_prefix(&[sign])?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, bytes[line..].strip_prefix(b"\r\n")?))
}

#[cfg(test)]
mod tests {
    use super::{PackedCommand, slot};

    #[test]
    fn commands_are_read_back() {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg("key").arg("a\r\n*1\r\n$4\r\nPING\r\n");
        pipeline.cmd("EVALSHA").arg("hash").arg(1).arg("other").arg("key");
        pipeline.cmd("MGET").arg("a").arg("b");
        pipeline.cmd("PING");
        let packed = pipeline.get_packed_pipeline();
        let commands = PackedCommand::all(&packed).unwrap();
        let slots: Vec<_> = commands.iter().map(PackedCommand::slot).collect();
        assert_eq!(slots[..2], [Some(slot(b"key")), Some(slot(b"other"))]);
        assert_eq!(slots[3], None);
        assert_eq!(commands[2].keys_apart().unwrap(), [b"a", b"b"]);
        assert!(commands[0].keys_apart().is_none());
        let bytes: Vec<u8> = commands.iter().flat_map(|command| command.bytes).copied().collect();
        assert_eq!(bytes, packed);
        for end in 1..packed.len() {
            // A part of a command is none, and nothing panics.
            let part = PackedCommand::all(&packed[..end]);
            assert!(part.is_none_or(|part| part.len() < 4));
        }
    }
}
