//! Programs that must not compile, in `tests/api/compile_fail`: one for each rule.
//!
//! The text of an error changes between compilers, so no whole error is kept here. At its top, a
//! program gives its reason, the code of the error that it expects, and the names that the error
//! has to contain: `//! E0277: Infallible`. Lines such as `//! says: pass a StatusCode` hold the
//! advice that this crate adds to the error.
//!
//! Each program is checked twice. As it stands, it has to compile. With the feature `wrong`, which
//! makes the one change that is forbidden, it must fail with that error and no other. So a missing
//! import or a renamed method cannot pass for the expected error. (With a `compile_fail` doctest it
//! would: a stable compiler does not compare the error there.)

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A program, and the error that it declares.
struct Program {
    name: String,
    path: PathBuf,
    code: String,
    words: Vec<String>,
}

/// An error of the compiler.
#[derive(Debug)]
struct Complaint {
    code: String,
    text: String,
}

#[test]
fn each_program_fails_to_compile_with_the_error_that_it_declares() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = programs(&root.join("tests/api/compile_fail"))?;
    assert!(programs.len() > 10, "programs are missing");
    let package = package(root, &programs)?;

    let right = check(&package, &[])?;
    assert!(right.is_empty(), "without the feature `wrong`: {right:#?}");
    let wrong = check(&package, &["--features", "wrong"])?;
    let mut faults = String::new();
    for program in &programs {
        let complaints = wrong.get(&program.name).map_or(&[][..], Vec::as_slice);
        if let Err(fault) = program.is_met_by(complaints) {
            writeln!(faults, "{}: {fault}\n{complaints:#?}", program.name)?;
        }
    }
    assert!(faults.is_empty(), "{faults}");
    Ok(())
}

/// Programs above show what most of them say.
#[test]
fn each_public_trait_says_what_to_do_where_it_is_not_implemented() {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let (mut traits, mut silent) = (0, Vec::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = fs::read_to_string(&path).unwrap_or_default();
        let mut advises = false;
        // A trait within a module is one that seals another.
        for line in source.lines().filter(|line| !line.starts_with(' ')) {
            if line.starts_with("pub trait ") {
                traits += 1;
                if !advises {
                    silent.push(line.to_owned());
                }
            }
            // Attributes and comments stand before their item, at most with lines of their own.
            advises = line.starts_with("#[diagnostic::on_unimplemented(")
                || advises && (line.starts_with('#') || line.starts_with('/') || line == ")]");
        }
    }
    assert!(traits > 20, "the traits are found");
    assert_eq!(silent, [""; 0]);
}

fn programs(folder: &Path) -> Result<Vec<Program>, Box<dyn Error>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let source = fs::read_to_string(&path)?;
        let head: Vec<_> =
            source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
        let phrases = head.iter().filter_map(|line| line.strip_prefix("says: "));
        let (code, names) = head
            .iter()
            .rfind(|line| !line.starts_with("says: "))
            .and_then(|expected| expected.split_once(": "))
            .ok_or_else(|| format!("{} does not say what it expects", path.display()))?;
        programs.push(Program {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            code: code.to_owned(),
            words: names.split("; ").chain(phrases).map(str::to_owned).collect(),
            path,
        });
    }
    Ok(programs)
}

impl Program {
    fn is_met_by(&self, complaints: &[Complaint]) -> Result<(), String> {
        if complaints.is_empty() {
            return Err("it compiles".to_owned());
        }
        if let Some(other) = complaints.iter().find(|complaint| complaint.code != self.code) {
            return Err(format!("expected {}, not {}", self.code, other.code));
        }
        match self.words.iter().find(|word| !complaints.iter().any(|one| one.text.contains(*word)))
        {
            Some(word) => Err(format!("no error says {word}")),
            None => Ok(()),
        }
    }
}

/// Creates a package of all programs, with the versions of this crate's lock file.
fn package(root: &Path, programs: &[Program]) -> Result<PathBuf, Box<dyn Error>> {
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail");
    fs::create_dir_all(&package)?;
    let mut manifest = format!(
        "[package]\n\
         name = \"compile-fail\"\n\
         edition = \"2024\"\n\
         [workspace]\n\
         [features]\n\
         wrong = []\n\
         [dependencies]\n\
         tower-breaker = {{ path = '{}', default-features = false, \
         features = [\"grpc\", \"retry\"] }}\n\
         axum = {{ version = \"*\", default-features = false }}\n\
         http = \"*\"\n\
         tower = {{ version = \"*\", features = [\"retry\", \"util\"] }}\n",
        root.display()
    );
    for Program { name, path, .. } in programs {
        writeln!(manifest, "[[bin]]\nname = '{name}'\npath = '{}'", path.display())?;
    }
    fs::write(package.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"))?;
    Ok(package)
}

/// The errors of each program with errors.
fn check(
    package: &Path,
    arguments: &[&str],
) -> Result<BTreeMap<String, Vec<Complaint>>, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["check", "--bins", "--keep-going", "--offline", "--message-format=json"])
        .arg("--target-dir")
        .arg(package.join("target"))
        .args(arguments)
        .current_dir(package)
        .output()?;
    let mut complaints = BTreeMap::<_, Vec<_>>::new();
    let mut finished = false;
    for line in std::str::from_utf8(&output.stdout)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |pointer| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        finished |= text("/reason") == "build-finished";
        // The summary of a compilation ("could not compile, 2 errors") has no code.
        if text("/message/level") == "error" && !text("/message/code/code").is_empty() {
            let complaint = Complaint {
                code: text("/message/code/code").to_owned(),
                text: text("/message/rendered").to_owned(),
            };
            complaints.entry(text("/target/name").to_owned()).or_default().push(complaint);
        }
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(finished, "cargo checked nothing: {errors}");
    assert!(output.status.success() || !complaints.is_empty(), "{errors}");
    Ok(complaints)
}
