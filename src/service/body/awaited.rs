//! What must still come of a response until the dependency has answered.

use bytes::Buf;
use http::HeaderMap;

use crate::classify::grpc_media_type::declares_grpc;

/// What must still come until the dependency has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Nothing,
    /// Any data.
    Data,
    /// The prefix of the first gRPC message, or the rest of it: a flag, and the length in four
    /// bytes. So many have come.
    Prefix {
        bytes: u8,
        length: u32,
    },
    /// So many bytes of the first gRPC message.
    Message(u32),
}

/// The flag of compression, and the length.
const PREFIX: u8 = 5;

impl Awaited {
    /// The head is the answer, unless the outcome is in the trailers: then it may precede the work.
    pub(super) fn after_head(awaits_trailers: bool, headers: &HeaderMap) -> Self {
        if !awaits_trailers {
            Self::Nothing
        } else if declares_grpc(headers) == Some(true) {
            Self::Prefix { bytes: 0, length: 0 }
        } else {
            Self::Data
        }
    }

    /// What is to come after this data.
    pub(super) fn after(self, data: &impl Buf) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Data if data.has_remaining() => Self::Nothing,
            Self::Data => Self::Data,
            Self::Prefix { bytes, length } => after_prefix(bytes, length, data),
            Self::Message(missing) => after_part(missing, data.remaining()),
        }
    }
}

fn after_prefix(mut bytes: u8, mut length: u32, data: &impl Buf) -> Awaited {
    let chunk = data.chunk();
    let mut read = 0;
    while bytes < PREFIX {
        let Some(byte) = chunk.get(read) else { break };
        if bytes > 0 {
            length = length << 8 | u32::from(*byte);
        }
        (bytes, read) = (bytes + 1, read + 1);
    }
    if bytes == PREFIX {
        after_part(length, data.remaining() - read)
    } else if data.remaining() == read {
        Awaited::Prefix { bytes, length }
    } else {
        // The rest of the prefix cannot be read without taking it away from the reader: there is
        // more data, and that has to do.
        Awaited::Nothing
    }
}

fn after_part(missing: u32, received: usize) -> Awaited {
    match u32::try_from(received) {
        Ok(received) if received < missing => Awaited::Message(missing - received),
        _ => Awaited::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, header::CONTENT_TYPE};
    use proptest::prelude::*;

    use super::*;

    fn head(media_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))])
    }

    #[test]
    fn the_head_the_first_data_or_the_first_message_is_the_answer() {
        let grpc = head("application/grpc+proto");
        assert_eq!(Awaited::after_head(false, &grpc), Awaited::Nothing);
        let data = Awaited::after_head(true, &head("application/json"));
        assert_eq!(data.after(&Bytes::new()), data);
        assert_eq!(data.after(&Bytes::from_static(b"x")), Awaited::Nothing);
        let message = Awaited::after_head(true, &grpc);
        assert_eq!(message.after(&Bytes::from_static(b"\0\0\0\0\0")), Awaited::Nothing);
        assert_eq!(message.after(&Bytes::from_static(b"\0\0\0\x01\0")), Awaited::Message(256));
    }

    /// Its first part is shorter than the prefix.
    #[test]
    fn data_in_several_parts_is_enough_where_the_length_is_hidden() {
        let data = Bytes::from_static(b"\0\0").chain(Bytes::from_static(b"\0\0\x09nine"));
        let message = Awaited::after_head(true, &head("application/grpc"));
        assert_eq!(message.after(&data), Awaited::Nothing);
        let prefix_first = Bytes::from_static(b"\0\0\0\0\x09").chain(Bytes::from_static(b"nine"));
        assert_eq!(message.after(&prefix_first), Awaited::Message(5));
    }

    proptest! {
        #[test]
        fn a_message_is_complete_with_its_last_byte_in_any_frames(
            length in 0..300_usize,
            frames in prop::collection::vec(0..40_usize, 0..40),
        ) {
            let mut message = vec![1];
            message.extend(u32::try_from(length).expect("a small length").to_be_bytes());
            message.resize(message.len() + length, b'x');
            let mut rest = Bytes::from(message);
            let mut answer = Awaited::after_head(true, &head("application/grpc"));
            for frame in frames {
                prop_assert_eq!(answer == Awaited::Nothing, rest.is_empty());
                answer = answer.after(&rest.split_to(frame.min(rest.len())));
            }
            let end = answer.after(&rest);
            prop_assert_eq!(end, Awaited::Nothing);
        }
    }

    #[test]
    fn it_takes_a_word() {
        assert_eq!(size_of::<Awaited>(), 8);
    }
}
