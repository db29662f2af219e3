//! What layers and services show of how they treat calls.

use std::{any::type_name_of_val, fmt};

/// Adds the types of what classifies, what rejects and when calls are recorded: often closures,
/// which show nothing themselves.
pub(super) fn add_types<'f, 'a, 'b: 'a, C, R, O>(
    fields: &'f mut fmt::DebugStruct<'a, 'b>,
    classify: &C,
    reject: &R,
    record_when: &O,
) -> &'f mut fmt::DebugStruct<'a, 'b> {
    fields
        .field("classify", &format_args!("{}", type_name_of_val(classify)))
        .field("reject", &format_args!("{}", type_name_of_val(reject)))
        .field("record_when", &format_args!("{}", type_name_of_val(record_when)))
}
