//! Redis 6.2 suffices: every command and option in the sources and scripts, with the version that
//! introduced it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Version = (u8, u8);
/// A command, the version that introduced it, and its options.
type Known = (&'static str, Version, &'static [(&'static str, Version)]);

/// The oldest server that is supported.
const OLDEST: Version = (6, 2);

/// What Redis' documentation says of each, with the options that are used.
const KNOWN: &[Known] = &[
    ("ASKING", (3, 0), &[]),
    ("CLUSTER", (3, 0), &[("SLOTS", (3, 0))]),
    ("DEL", (1, 0), &[]),
    ("EVAL", (2, 6), &[]),
    ("EVALSHA", (2, 6), &[]),
    ("EXISTS", (1, 0), &[]),
    ("GET", (1, 0), &[]),
    ("HDEL", (2, 0), &[]),
    ("HGET", (2, 0), &[]),
    ("HGETALL", (2, 0), &[]),
    ("HINCRBY", (2, 0), &[]),
    ("HLEN", (2, 0), &[]),
    // With several fields: 4.0.
    ("HSET", (4, 0), &[]),
    ("HSETNX", (2, 0), &[]),
    ("MGET", (1, 0), &[]),
    ("PERSIST", (2, 2), &[]),
    ("PEXPIRE", (2, 6), &[]),
    ("PEXPIREAT", (2, 6), &[]),
    ("PTTL", (2, 6), &[]),
    ("PING", (1, 0), &[]),
    ("ROLE", (2, 8), &[]),
    // With `get-master-addr-by-name`.
    ("SENTINEL", (2, 8), &[]),
    ("SET", (1, 0), &[("NX", (2, 6)), ("PX", (2, 6))]),
    ("TIME", (2, 6), &[]),
    ("XADD", (5, 0), &[("MAXLEN", (5, 0))]),
    ("XREAD", (5, 0), &[("BLOCK", (5, 0)), ("COUNT", (5, 0)), ("STREAMS", (5, 0))]),
    ("XREVRANGE", (5, 0), &[("COUNT", (5, 0))]),
    ("ZADD", (1, 2), &[]),
    ("ZCOUNT", (2, 0), &[]),
    ("ZRANGE", (1, 2), &[("WITHSCORES", (1, 2))]),
    ("ZRANGEBYLEX", (2, 8), &[("LIMIT", (2, 8))]),
    ("ZREM", (1, 2), &[]),
    ("ZREMRANGEBYLEX", (2, 8), &[]),
    ("ZREMRANGEBYRANK", (2, 0), &[]),
    ("ZREMRANGEBYSCORE", (1, 2), &[]),
    ("ZREVRANGEBYLEX", (2, 8), &[("LIMIT", (2, 8))]),
];

/// Where the name of a command follows, in quotes.
const CALLS: [&str; 4] = ["cmd(\"", "redis.call('", "redis.pcall('", "redis.call(\""];

#[test]
fn no_command_and_no_option_is_newer_than_redis_6_2() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for folder in ["fleet", "store/redis"] {
        collect(&sources.join(folder), &mut files);
    }
    for file in &files {
        for (command, options) in commands(&fs::read_to_string(file).unwrap()) {
            found.entry(command).or_default().extend(options);
        }
    }
    let mut faults = Vec::new();
    for (command, options) in &found {
        let Some((_, since, known)) = KNOWN.iter().find(|(name, ..)| name == command) else {
            faults.push(format!("{command}: since when?"));
            continue;
        };
        if *since > OLDEST {
            faults.push(format!("{command} is newer"));
        }
        for option in options {
            match known.iter().find(|(name, _)| name == option) {
                None => faults.push(format!("{command} {option}: since when?")),
                Some((_, since)) if *since > OLDEST => {
                    faults.push(format!("{command} {option} is newer"));
                }
                Some(_) => {}
            }
        }
    }
    for (command, _, options) in KNOWN {
        let used = found.get(*command);
        if used.is_none() {
            faults.push(format!("{command} is not used"));
        }
        let is_used = |option: &str| used.is_some_and(|used| used.contains(option));
        let unused = options.iter().filter(|(option, _)| !is_used(option));
        faults.extend(unused.map(|(option, _)| format!("{command} {option} is not used")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn commands_and_options_are_found_in_scripts_and_in_sources() {
    let script = "local a = redis.pcall('HGET', key, 'u')\n\
                  redis.call('ZADD', key, 'GT', text(1), 'a')\nreturn { 'OK' }";
    let source = "fn f() {\n    let c = redis::cmd(\"SET\");\n    c.arg(key).arg(\"XX\");\n}\n\
                  fn g() {\n    pipeline.cmd(\"GET\").arg(key).cmd(\"DEL\").arg(\"NX\");\n}";
    let found = |text: &str| {
        let found = commands(text).into_iter();
        found
            .map(|(command, options)| format!("{command} {}", options.join(" ")))
            .collect::<Vec<_>>()
    };
    let found: Vec<_> = [script, source].iter().flat_map(|text| found(text)).collect();
    assert_eq!(found, ["HGET ", "ZADD GT", "SET XX", "GET ", "DEL NX"]);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "lua")
        {
            files.push(path);
        }
    }
}

/// The commands in a text, each with the words in capitals that follow: in a script within its
/// parentheses, and in a source until the next command or the end of the function.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut places: Vec<usize> = CALLS
        .iter()
        .flat_map(|call| text.match_indices(call).map(move |(at, _)| at + call.len()))
        .collect();
    places.sort_unstable();
    let ends = places.iter().skip(1).copied().chain([text.len()]);
    let calls = places.iter().zip(ends).map(|(begins, ends)| &text[*begins..ends]);
    let parsed = calls.filter_map(|call| {
        let (command, rest) = call.split_once(['"', '\''])?;
        let is_script = call.as_bytes()[command.len()] == b'\'';
        let rest = if is_script { within(rest) } else { until_end(rest) };
        is_word(command).then(|| (command.to_owned(), words(rest)))
    });
    parsed.collect()
}

/// Up to the parenthesis that closes the call.
fn within(call: &str) -> &str {
    let mut depth = 1;
    let end = call.find(|character| {
        depth += i32::from(character == '(') - i32::from(character == ')');
        depth == 0
    });
    &call[..end.unwrap_or(call.len())]
}

fn until_end(source: &str) -> &str {
    let ends = ["\n}\n", "\n    }\n", "\n}"].iter().filter_map(|end| source.find(end));
    &source[..ends.min().unwrap_or(source.len())]
}

fn words(text: &str) -> Vec<String> {
    let quoted = text.split(['"', '\'']).filter(|word| is_word(word));
    quoted.map(str::to_owned).collect()
}

fn is_word(text: &str) -> bool {
    text.len() > 1 && text.chars().all(|c| c.is_ascii_uppercase())
}
