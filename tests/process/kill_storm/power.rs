//! Power failures, emulated: the store is on a file system in an image file. While its process
//! is stopped, the image is copied. The copy has what reached the disk, without what was only in
//! the caches of the system. The next process starts on the copy, once its file system has
//! recovered.
//!
//! Needs root, loop devices, and `mkfs` for each file system: `tests/trials/power-failure` runs it.
//! `POWER_FAILURES` sets the number of failures for each store, load and file system; `POWER_ONLY`
//! selects the rows that contain its text, such as `ext4 | sled | large`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{Load, breakers::Flapping, large::LargeSaves, records::Records};
use crate::support::{child::Role, kind::Kind, random::Random};

/// Bytes of an image: xfs takes no smaller one.
const IMAGE: u64 = 320 << 20;

const FILE_SYSTEMS: [(&str, &[&str]); 3] = [
    ("ext4", &["mkfs.ext4", "-q", "-F"]),
    ("xfs", &["mkfs.xfs", "-q", "-f"]),
    ("btrfs", &["mkfs.btrfs", "-q", "-f"]),
];

#[test]
#[ignore = "needs root and loop devices"]
fn what_was_acknowledged_survives_a_power_failure() {
    let failures = env::var("POWER_FAILURES").map_or(6, |failures| failures.parse().unwrap());
    let only = env::var("POWER_ONLY").unwrap_or_default();
    let mut tried = 0;
    for (file_system, make) in FILE_SYSTEMS {
        for kind in Kind::ALL {
            for (name, strike) in LOADS {
                let title = format!("{file_system} | {} | {name}", kind.name());
                if !title.contains(&only) {
                    continue;
                }
                let Some(mut site) = Site::create(kind, make) else {
                    println!("| {file_system} | skipped: it cannot be made or mounted here |");
                    break;
                };
                let acknowledged = strike(&mut site, failures);
                println!(
                    "| {title} | {failures} power failures | {acknowledged} acknowledged | 0 lost |"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "no file system can be mounted here");
}

type Strike = fn(&mut Site, u32) -> u32;

const LOADS: [(&str, Strike); 3] =
    [("100 breakers", breakers), ("records", records), ("large saves", large_saves)];

fn breakers(site: &mut Site, failures: u32) -> u32 {
    site.strike(failures, &mut Flapping::new(100, 10))
}

fn records(site: &mut Site, failures: u32) -> u32 {
    site.strike(failures, &mut Records::default())
}

fn large_saves(site: &mut Site, failures: u32) -> u32 {
    site.strike(failures, &mut LargeSaves::new())
}

/// A store on a mounted image.
struct Site {
    kind: Kind,
    folder: tempfile::TempDir,
    image: PathBuf,
    mounted: bool,
    random: Random,
}

impl Site {
    fn create(kind: Kind, make: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image 0");
        fs::File::create(&image).unwrap().set_len(IMAGE).unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        let mut site = Self { kind, folder, image, mounted: false, random: Random::new(7) };
        let is_made = run(Command::new(make[0]).args(&make[1..]).arg(&site.image));
        (is_made && site.mount()).then_some(site)
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    fn mount(&mut self) -> bool {
        self.mounted = run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(self.mount_point()));
        self.mounted
    }

    fn unmount(&mut self) {
        if self.mounted {
            self.mounted = !run(Command::new("umount").arg(self.mount_point()));
        }
    }

    /// Returns the number of acknowledged writes.
    fn strike(&mut self, failures: u32, load: &mut impl Load) -> u32 {
        let mut acknowledged = 0;
        for failure in 0..=failures {
            let mut process = self.role(load).start();
            load.restored(&process.line().expect("the process says what it has restored"));
            if failure == failures {
                break;
            }
            let first: Vec<_> = (0..2 + failure % 5).map_while(|_| process.line()).collect();
            std::thread::sleep(Duration::from_micros(self.random.below(30_000)));
            process.pause();
            let copy = self.folder.path().join(format!("image {}", failure + 1));
            copy_at_rest(&self.image, &copy);
            for line in first.into_iter().chain(process.kill()) {
                load.acknowledged(&line);
                acknowledged += 1;
            }
            self.unmount();
            fs::remove_file(&self.image).unwrap();
            self.image = copy;
            assert!(self.mount(), "the file system does not recover");
        }
        acknowledged
    }

    fn role<L: Load>(&self, load: &L) -> Role {
        let folder = self.mount_point().join("state");
        let mut role =
            Role::new(L::ROLE).argument("KIND", self.kind.name()).argument("FOLDER", folder);
        for (name, value) in load.arguments() {
            role = role.argument(name, value);
        }
        role
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Copies the image while nothing writes to it: the file system may be writing its journal.
fn copy_at_rest(image: &Path, copy: &Path) {
    let copied = (0..20).any(|_| {
        let mut cp = Command::new("cp");
        cp.args(["--sparse=always"]).arg(image).arg(copy);
        run(&mut cp) && run(Command::new("cmp").arg("-s").arg(image).arg(copy))
    });
    assert!(copied, "the image changes all the time");
}

fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
