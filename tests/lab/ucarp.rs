//! The real ucarp, as Debian ships it.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Daemon, Host};

/// What ucarp is told. Its up and down scripts add and remove the VIP.
#[derive(Clone, Debug)]
pub struct UcarpOptions {
    pub vip: Ipv4Addr,
    pub vhid: u8,
    pub password: String,
    /// Seconds.
    pub advbase: u8,
    /// 1/256 seconds.
    pub advskew: u8,
    pub deadratio: u32,
    /// `-P`
    pub preempt: bool,
    /// `-z`: the down script also runs at the end.
    pub shutdown: bool,
}

impl UcarpOptions {
    /// The fastest that is stable with two of them: an advertisement each
    /// second, and one interval of silence.
    pub fn new(vip: Ipv4Addr) -> Self {
        Self {
            vip,
            vhid: 10,
            password: "secret".to_owned(),
            advbase: 1,
            advskew: 0,
            deadratio: 1,
            preempt: false,
            shutdown: true,
        }
    }
}

pub struct Ucarp {
    daemon: Daemon,
}

impl Ucarp {
    pub fn spawn(host: &Host, options: &UcarpOptions) -> Self {
        let UcarpOptions {
            vip,
            vhid,
            password,
            advbase,
            advskew,
            deadratio,
            preempt,
            shutdown,
        } = options;
        let up = script(host.directory(), "vip-up.sh", "add");
        let down = script(host.directory(), "vip-down.sh", "del");

        let mut command = host.command("/usr/sbin/ucarp");
        command.args(["-i", "eth0", "-f", "none"]);
        command.arg("-s").arg(host.address().to_string());
        command.arg("-a").arg(vip.to_string());
        command.arg("-v").arg(vhid.to_string());
        command.arg("-p").arg(password);
        command.arg("-b").arg(advbase.to_string());
        command.arg("-k").arg(advskew.to_string());
        command.arg("-r").arg(deadratio.to_string());
        command.arg("-u").arg(up).arg("-d").arg(down);
        if *preempt {
            command.arg("-P");
        }
        if *shutdown {
            command.arg("-z");
        }
        Self {
            daemon: Daemon::spawn(&format!("ucarp on {}", host.name()), &mut command),
        }
    }
}

impl Deref for Ucarp {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Ucarp {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// ucarp calls it with the interface and the VIP.
fn script(directory: &Path, name: &str, verb: &str) -> PathBuf {
    let path = directory.join(name);
    let text = format!("#!/bin/sh\nexec ip addr {verb} \"$2\"/32 dev \"$1\"\n");
    fs::write(&path, text).expect("cannot write a script");
    fs::set_permissions(&path, Permissions::from_mode(0o755))
        .expect("cannot make a script executable");
    path
}
