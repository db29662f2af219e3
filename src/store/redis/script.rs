//! Scripts that run in Redis, and pipelines with scripts in them.
//!
//! A script is sent by its hash. A server that does not know it, for example after a restart, is
//! sent the whole of it. Numbers go in and out as strings, since Lua holds numbers as floats. The
//! keys of one call lie in one slot of a cluster: they share a hash tag, or there is only one.

use redis::{Cmd, ConnectionLike, Pipeline, RedisResult, ServerErrorKind, Value, cmd};

/// A script, and the hash that names it.
pub(crate) struct Script {
    source: &'static str,
    hash: String,
}

/// How scripts are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Hash,
    Whole,
}

impl Script {
    pub(crate) fn new(source: &'static str) -> Self {
        Self { source, hash: redis::Script::new(source).get_hash().to_owned() }
    }

    /// A call of the script.
    pub(crate) fn command(&self, form: Form, keys: &[&[u8]], args: &[&[u8]]) -> Cmd {
        let mut command = match form {
            Form::Hash => cmd("EVALSHA"),
            Form::Whole => cmd("EVAL"),
        };
        command.arg(match form {
            Form::Hash => &*self.hash,
            Form::Whole => self.source,
        });
        command.arg(keys.len());
        for argument in keys.iter().chain(args) {
            command.arg(*argument);
        }
        command
    }
}

/// Sends a pipeline, and once more with whole scripts if the server does not know one. So its
/// commands may be executed twice. An error of a single command is an error of all.
pub(crate) fn run(
    connection: &mut dyn ConnectionLike,
    build: impl Fn(Form, &mut Pipeline),
) -> RedisResult<Vec<Value>> {
    run_each(connection, build)?.into_iter().map(Value::extract_error).collect()
}

/// The same, but the error of a single command is its own reply.
pub(crate) fn run_each(
    connection: &mut dyn ConnectionLike,
    build: impl Fn(Form, &mut Pipeline),
) -> RedisResult<Vec<Value>> {
    let mut replies = Vec::new();
    for form in [Form::Hash, Form::Whole] {
        let mut pipeline = redis::pipe();
        build(form, &mut pipeline);
        if pipeline.is_empty() {
            break;
        }
        replies = pipeline.ignore_errors().query(connection)?;
        if !replies.iter().any(is_unknown_script) {
            break;
        }
    }
    Ok(replies)
}

fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}
