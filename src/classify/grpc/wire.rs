//! A reader for the protobuf wire format, just enough to find a number in a message.

/// Iterates over the fields of a message. Malformed bytes end it with an `Err`. It reads the bytes
/// once, whatever they contain.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// The bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    /// Text, bytes, or a nested message.
    Bytes(&'a [u8]),
    /// A number of fixed width, whose value is not needed.
    Fixed,
}

pub(super) type Field<'a> = (u64, Value<'a>);

/// Returns the fields of a message.
pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let tag = self.varint()?;
        let value = match tag & 0b111 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups are deprecated; the other wire types are undefined.
            _ => return Err(Malformed),
        };
        Ok((tag >> 3, value))
    }

    /// Seven bits in each byte, the lowest first, in at most ten bytes.
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_every_kind_are_read() {
        let message = [
            0x08, 0x96, 0x01, // 1: 150
            0x11, 1, 2, 3, 4, 5, 6, 7, 8, // 2: eight bytes
            0x1a, 2, b'h', b'i', // 3: "hi"
            0x25, 1, 2, 3, 4, // 4: four bytes
            0x22, 0, // 4: ""
        ];
        let read: Result<Vec<_>, _> = fields(&message).collect();
        let expected = vec![
            (1, Value::Varint(150)),
            (2, Value::Fixed),
            (3, Value::Bytes(b"hi")),
            (4, Value::Fixed),
            (4, Value::Bytes(b"")),
        ];
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn a_negative_number_is_ten_bytes_and_eleven_are_none() {
        let minus_one = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&minus_one).next(), Some(Ok((1, Value::Varint(u64::MAX)))));
        let endless = [0xff; 12];
        assert_eq!(fields(&endless).collect::<Vec<_>>(), [Err(Malformed)]);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let read: Vec<_> = fields(&bytes).collect();
            prop_assert!(read.len() <= bytes.len());
            let wrong = read.iter().filter(|field| field.is_err()).count();
            prop_assert!(wrong == 0 || wrong == 1 && read.last() == Some(&Err(Malformed)));
        }
    }
}
