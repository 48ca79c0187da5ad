//! Whose program it is: whoever can change what the daemon runs is the daemon.
//!
//! A program is run only if none but root and the daemon's own user can replace it:
//! not the file, nor a directory on the way to it. keepalived has the same rule
//! (`enable_script_security`, keepalived.conf(5)).

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    #[error("{} is no absolute path", path.display())]
    Relative { path: PathBuf },
    #[error("cannot run {}: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{} is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is not executable: use 'chmod +x'", path.display())]
    NotExecutable { path: PathBuf },
    #[error(
        "{program} is not run: {path} belongs to user {uid}, who could change it; it must belong to root or to vipd's user",
        program = program.display(),
        path = path.display()
    )]
    Owner {
        program: PathBuf,
        path: PathBuf,
        uid: u32,
    },
    #[error(
        "{program} is not run: others than its owner may write {path} (mode {mode:o}); use 'chmod go-w'",
        program = program.display(),
        path = path.display()
    )]
    Writable {
        program: PathBuf,
        path: PathBuf,
        mode: u32,
    },
}

/// Whether a program may be run, and what it is when all links are followed.
pub fn check(program: &Path) -> Result<PathBuf, Untrusted> {
    if !program.is_absolute() {
        return Err(Untrusted::Relative {
            path: program.to_owned(),
        });
    }
    let unusable = |source| Untrusted::Unusable {
        path: program.to_owned(),
        source,
    };
    let target = fs::canonicalize(program).map_err(unusable)?;
    let metadata = fs::metadata(&target).map_err(unusable)?;
    if !metadata.is_file() {
        return Err(Untrusted::NoFile { path: target });
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Untrusted::NotExecutable { path: target });
    }
    let own = rustix::process::geteuid().as_raw();
    let judge = |path: &Path, metadata: &Metadata| {
        let mode = metadata.permissions().mode() & 0o7777;
        // In a directory with the sticky bit nobody can replace what is another's
        // (inode(7), S_ISVTX).
        let is_sticky = metadata.is_dir() && mode & 0o1000 != 0;
        if metadata.uid() != 0 && metadata.uid() != own {
            Err(Untrusted::Owner {
                program: program.to_owned(),
                path: path.to_owned(),
                uid: metadata.uid(),
            })
        } else if mode & 0o022 != 0 && !is_sticky {
            Err(Untrusted::Writable {
                program: program.to_owned(),
                path: path.to_owned(),
                mode,
            })
        } else {
            Ok(())
        }
    };
    judge(&target, &metadata)?;
    // The way as it is written, and as it is.
    for way in [program, &target] {
        for directory in way.ancestors().skip(1) {
            let metadata = fs::metadata(directory).map_err(unusable)?;
            judge(directory, &metadata)?;
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn complaint(path: &Path) -> String {
        check(path).unwrap_err().to_string()
    }

    #[test]
    fn a_program_that_others_can_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        for (mode, refused) in [
            (0o755, None),
            (0o700, None),
            (0o555, None),
            (0o775, Some("mode 775")),
            (0o757, Some("mode 757")),
            (0o644, Some("not executable")),
        ] {
            write(&script, mode);
            match refused {
                None => assert_eq!(check(&script).unwrap(), fs::canonicalize(&script).unwrap()),
                Some(why) => {
                    let said = complaint(&script);
                    assert!(said.contains(why), "{mode:o}: {said}");
                }
            }
        }
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let script = inner.join("script");
        write(&script, 0o755);
        for (mode, is_refused) in [
            (0o755, false),
            (0o777, true),
            (0o775, true),
            (0o1777, false),
        ] {
            fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(&script).is_err(), is_refused, "{mode:o}");
        }
    }

    #[test]
    fn a_link_is_as_good_as_the_way_to_it_and_what_it_points_to() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        let script = directory.path().join("script");
        write(&script, 0o755);
        let link = open.join("link");
        symlink(&script, &link).unwrap();
        assert_eq!(check(&link).unwrap(), fs::canonicalize(&script).unwrap());
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(complaint(&link).contains("open"), "{}", complaint(&link));
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o777)).unwrap();
        assert!(complaint(&link).contains("mode 777"));
    }

    #[test]
    fn what_is_no_program_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (Path::new("script"), "no absolute path"),
            (Path::new("/nonexistent/script"), "/nonexistent/script"),
            (directory.path(), "is no file"),
        ] {
            let said = complaint(path);
            assert!(said.contains(expected), "{said}");
        }
    }
}
