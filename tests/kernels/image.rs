//! The guest's root file system: an initramfs of programs of this machine with
//! their libraries, and the modules of the guest's kernel. Nothing in it is
//! downloaded but the kernel's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vipd_tests::lab;

/// Puts together what the guest needs, as a cpio archive that the kernel unpacks.
pub(crate) fn build(kernel: &Path) -> Vec<u8> {
    let mut image = Image::default();
    for directory in ["dev", "proc", "sys", "run", "tmp"] {
        image.directory(Path::new(directory));
    }
    image.file(
        Path::new("init"),
        EXECUTABLE,
        include_bytes!("init.sh").to_vec(),
    );
    for name in PROGRAMS {
        image.program(name, &find_program(name));
    }
    let scratch = tempfile::tempdir().expect("a directory for stripped programs");
    for (name, program) in [
        ("vipd", lab::vipd_program()),
        ("xdp", test_program("xdp")),
        ("netns", test_program("netns")),
    ] {
        // What is left out is nine tenths of them.
        let stripped = scratch.path().join(name);
        let mut strip = Command::new("strip");
        output(strip.arg("-o").arg(&stripped).arg(&program));
        image.program(name, &stripped);
    }
    for (number, name) in MODULES.iter().enumerate() {
        let file = find_module(kernel, name);
        let name = file.file_name().expect("a file has a name");
        // The guest loads them in the order of these names.
        let inside = format!("modules/{number}-{}", name.to_string_lossy());
        image.file(Path::new(&inside), 0o644, read(&file));
    }
    image.archive()
}

/// Files by their paths, which have no leading slash. A directory comes before
/// what is in it, as the kernel wants it.
#[derive(Default)]
struct Image {
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
}

impl Image {
    /// With all above it.
    fn directory(&mut self, path: &Path) {
        for path in path.ancestors().filter(|path| *path != Path::new("")) {
            let directory = (S_IFDIR | EXECUTABLE, Vec::new());
            self.files.entry(path.to_owned()).or_insert(directory);
        }
    }

    fn file(&mut self, path: &Path, permissions: u32, content: Vec<u8>) {
        self.directory(path.parent().expect("a file is somewhere"));
        let file = (S_IFREG | permissions, content);
        self.files.insert(path.to_owned(), file);
    }

    /// A program in `/bin`, and the libraries it needs where it looks for them.
    fn program(&mut self, name: &str, file: &Path) {
        self.file(&Path::new("bin").join(name), EXECUTABLE, read(file));
        // `NAME => PATH (ADDRESS)`, for the dynamic linker `PATH (ADDRESS)`.
        let libraries = output(Command::new("ldd").arg(file));
        let paths = libraries
            .split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix('/'));
        for path in paths {
            self.file(
                Path::new(path),
                EXECUTABLE,
                read(&Path::new("/").join(path)),
            );
        }
    }

    /// The format "newc" (Documentation/driver-api/early-userspace/buffer-format.rst
    /// of Linux). All belongs to root.
    fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (number, (path, (mode, content))) in (1..).zip(&self.files) {
            let path = path.to_str().expect("a path is text");
            append(&mut archive, number, path, *mode, content);
        }
        append(&mut archive, 0, "TRAILER!!!", 0, &[]);
        archive
    }
}

fn append(archive: &mut Vec<u8>, inode: u32, path: &str, mode: u32, content: &[u8]) {
    let length = |bytes: usize| u32::try_from(bytes).expect("a file of less than 4 GiB");
    let header = [
        inode,
        mode,
        0, // user
        0, // group
        1, // links
        0, // modified
        length(content.len()),
        0, // the device it is on
        0,
        0, // the device it is
        0,
        length(path.len() + 1),
        0, // checksum
    ];
    archive.extend_from_slice(b"070701");
    for field in header {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// The newest that was built of a test program of this package.
fn test_program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its path");
    let directory = own.parent().expect("a program is somewhere");
    let prefix = format!("{name}-");
    let newest = fs::read_dir(directory)
        .expect("the programs' directory can be read")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix) && path.extension().is_none()
        })
        .max_by_key(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
    let newest = newest.unwrap_or_else(|| panic!("the tests {name} are not built: {BUILD}"));
    for sources in [&newest, &lab::vipd_program()] {
        if let Some(source) = lab::newer_source(&newest, sources) {
            panic!("{source} is newer than {}: {BUILD}", newest.display());
        }
    }
    newest
}

fn find_program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        // Users' paths often lack these.
        .chain(["/usr/sbin", "/sbin"])
        .map(|directory| Path::new(directory).join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is missing; `cargo xtask setup --test` installs it"))
}

/// A module, as it is or compressed.
fn find_module(directory: &Path, name: &str) -> PathBuf {
    let file = format!("{name}.ko");
    find(directory, &|found| {
        found
            .split_once(".ko")
            .is_some_and(|(stem, _)| stem == name)
    })
    .unwrap_or_else(|| panic!("there is no {file} in {}", directory.display()))
}

/// A file whose name is right, in a directory or below.
pub(crate) fn find(directory: &Path, is_it: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let found = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), is_it)
        } else {
            is_it(&entry.file_name().to_string_lossy()).then(|| entry.path())
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the guest's script and the tests call.
const PROGRAMS: [&str; 13] = [
    "arping", "bpftool", "cp", "insmod", "ip", "mount", "nsenter", "ping", "setpriv", "sh",
    "sleep", "tc", "umount",
];

/// Of which the lab is made, each after those it needs. The rest is part of
/// Debian's kernels.
const MODULES: [&str; 4] = ["llc", "stp", "bridge", "veth"];

const BUILD: &str = "run `cargo test -p vipd-tests --features privileged --no-run`";

/// Everybody may read and execute it.
const EXECUTABLE: u32 = 0o755;

/// Types of files (inode(7)).
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
