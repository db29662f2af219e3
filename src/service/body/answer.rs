//! What of a response shows that the dependency has answered.

use bytes::Buf;
use http::HeaderMap;

use crate::classify::grpc_media_type::declares_grpc;

/// What is still to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Complete,
    /// Any data.
    Data,
    /// The prefix of the first gRPC message, or the rest of it: a flag, and the length in four
    /// bytes. So many have come.
    Prefix { bytes: u8, length: u32 },
    /// So many bytes of the first gRPC message.
    Message(u32),
}

/// The flag of compression, and the length.
const PREFIX: u8 = 5;

impl Answer {
    /// The head is the answer, unless the outcome is in the trailers: then it may precede the work.
    pub(super) fn after_head(awaits_trailers: bool, headers: &HeaderMap) -> Self {
        if !awaits_trailers {
            Self::Complete
        } else if declares_grpc(headers) == Some(true) {
            Self::Prefix { bytes: 0, length: 0 }
        } else {
            Self::Data
        }
    }

    /// What is to come after this data.
    pub(super) fn after(self, data: &impl Buf) -> Self {
        match self {
            Self::Complete => Self::Complete,
            Self::Data if data.has_remaining() => Self::Complete,
            Self::Data => Self::Data,
            Self::Prefix { bytes, length } => after_prefix(bytes, length, data),
            Self::Message(missing) => after_part(missing, data.remaining()),
        }
    }
}

fn after_prefix(mut bytes: u8, mut length: u32, data: &impl Buf) -> Answer {
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
        Answer::Prefix { bytes, length }
    } else {
        // The rest of the prefix cannot be read without taking it away from the reader: there is
        // more data, and that has to do.
        Answer::Complete
    }
}

fn after_part(missing: u32, received: usize) -> Answer {
    match u32::try_from(received) {
        Ok(received) if received < missing => Answer::Message(missing - received),
        _ => Answer::Complete,
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
        assert_eq!(Answer::after_head(false, &grpc), Answer::Complete);
        let data = Answer::after_head(true, &head("application/json"));
        assert_eq!(data.after(&Bytes::new()), data);
        assert_eq!(data.after(&Bytes::from_static(b"x")), Answer::Complete);
        let message = Answer::after_head(true, &grpc);
        assert_eq!(message.after(&Bytes::from_static(b"\0\0\0\0\0")), Answer::Complete);
        assert_eq!(message.after(&Bytes::from_static(b"\0\0\0\x01\0")), Answer::Message(256));
    }

    /// Its first part is shorter than the prefix.
    #[test]
    fn data_in_several_parts_is_enough_where_the_length_is_hidden() {
        let data = Bytes::from_static(b"\0\0").chain(Bytes::from_static(b"\0\0\x09nine"));
        let message = Answer::after_head(true, &head("application/grpc"));
        assert_eq!(message.after(&data), Answer::Complete);
        let prefix_first = Bytes::from_static(b"\0\0\0\0\x09").chain(Bytes::from_static(b"nine"));
        assert_eq!(message.after(&prefix_first), Answer::Message(5));
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
            let mut answer = Answer::after_head(true, &head("application/grpc"));
            for frame in frames {
                prop_assert_eq!(answer == Answer::Complete, rest.is_empty());
                answer = answer.after(&rest.split_to(frame.min(rest.len())));
            }
            let end = answer.after(&rest);
            prop_assert_eq!(end, Answer::Complete);
        }
    }

    #[test]
    fn it_takes_a_word() {
        assert_eq!(size_of::<Answer>(), 8);
    }
}
