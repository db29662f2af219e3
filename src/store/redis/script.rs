//! Scripts that run in Redis, and pipelines with scripts in them.
//!
//! A script is sent by its hash. A server that does not know it, for example after a restart, is
//! sent the whole of it. Numbers go in and out as strings, since Lua holds numbers as floats. The
//! keys of one call lie in one slot of a cluster: they share a hash tag, or there is only one.

use redis::{Cmd, ConnectionLike, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

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

    /// A server says that a user may not do what a script does, but not what that is. Here it is
    /// named, as if the user had tried it without a script.
    pub(crate) fn name_what_is_denied(&self, error: RedisError) -> RedisError {
        let line = error.detail().filter(|text| text.contains(DENIED)).and_then(line_of);
        let call = line.and_then(|line| self.source.lines().nth(line.checked_sub(1)?));
        let name = call.and_then(|call| call.split("redis.call('").nth(1)?.split('\'').next());
        let Some(name) = name else { return error };
        let detail = format!("no permissions to run the '{}' command", name.to_lowercase());
        redis::make_extension_error("NOPERM".to_owned(), Some(detail))
    }
}

/// What servers say that do not name the command.
const DENIED: &str = "executing the script can't run this command";

/// The number in `@user_script:7`, with which each line of a script can be found.
fn line_of(text: &str) -> Option<usize> {
    let rest = text.split("@user_script:").nth(1)?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Sends a pipeline, and once more with whole scripts if the server does not know one. So its
/// commands may be executed twice. An error of a single command is an error of all.
pub(crate) fn run(
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
    replies.into_iter().map(Value::extract_error).collect()
}

/// Sends a call of one script for each of these, all at once, and those again that the server did
/// not know. So none is executed twice. The error of a single call is its own reply.
pub(crate) fn run_calls<T>(
    connection: &mut dyn ConnectionLike,
    calls: &[T],
    command: impl Fn(Form, &T) -> Cmd,
) -> RedisResult<Vec<Value>> {
    let mut pipeline = redis::pipe();
    for call in calls {
        pipeline.add_command(command(Form::Hash, call));
    }
    let mut replies: Vec<Value> = pipeline.ignore_errors().query(connection)?;
    let unknown: Vec<usize> =
        (0..replies.len()).filter(|index| is_unknown_script(&replies[*index])).collect();
    let Some((first, rest)) = unknown.split_first() else { return Ok(replies) };
    let mut pipeline = redis::pipe();
    // From then on, the server knows it.
    pipeline.add_command(command(Form::Whole, &calls[*first]));
    for index in rest {
        pipeline.add_command(command(Form::Hash, &calls[*index]));
    }
    let again: Vec<Value> = pipeline.ignore_errors().query(connection)?;
    for (index, reply) in unknown.into_iter().zip(again) {
        replies[index] = reply;
    }
    Ok(replies)
}

fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

#[cfg(test)]
mod tests {
    use redis::{RedisError, make_extension_error};

    use super::Script;

    #[test]
    fn what_a_user_must_not_do_in_a_script_is_named() {
        let script = Script::new("local a = 1\nif a then redis.call('ZADD', KEYS[1], 1, a) end");
        let error = |text: &str| make_extension_error("ERR".to_owned(), Some(text.to_owned()));
        let named = |error: RedisError| script.name_what_is_denied(error).to_string();
        // Redis 7.0 and 6.2.
        for text in [
            "The user executing the script can't run this command or subcommand script: 0f, on \
             @user_script:2.",
            "Error running script (call to f_0f): @user_script:2: The user executing the script \
             can't run this command or subcommand",
        ] {
            assert!(named(error(text)).contains("the 'zadd' command"), "{}", named(error(text)));
        }
        for text in [
            "something else, on @user_script:2.",
            "executing the script can't run this \
             command, on @user_script:9.",
        ] {
            assert_eq!(named(error(text)), error(text).to_string());
        }
    }
}
