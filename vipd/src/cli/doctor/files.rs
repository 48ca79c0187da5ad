//! Password files that others may read, and the commands that show the pins.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, GroupStatus};

/// Looks at the files that are named, and at those whose name says that they are
/// passwords where they usually are.
pub(super) fn examine(named: &[PathBuf], findings: &mut Vec<Finding>) {
    let usual = fs::read_dir(USUAL).into_iter().flatten().flatten();
    let usual = usual.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("pass") || name.ends_with(".key")
    });
    for path in named.iter().cloned().chain(usual) {
        match fs::metadata(&path) {
            Ok(file) if file.is_file() => {
                findings.push(password(&path, file.permissions().mode()));
            }
            Ok(_) => {}
            Err(error) => findings.push(Finding::warn(
                "password",
                "",
                format!("cannot look at {}: {error}", path.display()),
            )),
        }
    }
}

fn password(path: &Path, mode: u32) -> Finding {
    let shown = path.display();
    let chmod = format!("chmod 600 {shown}, and choose another password");
    if mode & 0o022 != 0 {
        Finding::fail("password", "", format!("others may write {shown}")).advice(chmod)
    } else if mode & 0o077 != 0 {
        Finding::warn("password", "", format!("others may read {shown}")).advice(chmod)
    } else {
        Finding::ok("password", "", format!("{shown} is its owner's alone"))
    }
}

/// What shows the responder of an interface, whose pins are in a directory.
pub(super) fn bpftool(pins: &Path, groups: &mut dyn Iterator<Item = &GroupStatus>) -> Vec<String> {
    let pins = pins.display();
    let mut commands = vec![
        format!("bpftool link show pinned {pins}/link"),
        format!("bpftool map dump pinned {pins}/groups"),
        format!("bpftool map dump pinned {pins}/vips"),
        format!("bpftool map dump pinned {pins}/counters"),
        format!("bpftool map dump pinned {pins}/conflicts"),
    ];
    commands.extend(groups.map(|group| {
        format!(
            "bpftool map lookup pinned {pins}/groups key {} 0 0 0    # {}",
            group.vhid, group.name
        )
    }));
    commands
}

/// Where passwords usually are.
const USUAL: &str = "/etc/vipd";

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn who_may_read_a_password_is_told() {
        let level = |mode| password(Path::new("/etc/vipd/password"), mode).level;
        assert_eq!(level(0o100_600), Level::Ok);
        assert_eq!(level(0o100_400), Level::Ok);
        assert_eq!(level(0o100_640), Level::Warn);
        assert_eq!(level(0o100_644), Level::Warn);
        assert_eq!(level(0o100_620), Level::Fail);
        assert_eq!(level(0o100_666), Level::Fail);
    }
}
