//! The real keepalived, as Debian ships it.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};

use super::{Daemon, Host};

/// What keepalived is told: VRRPv3 instances that preempt, each with one
/// address on `eth0`.
#[derive(Clone, Debug)]
pub struct KeepalivedOptions {
    /// Numbers and addresses of the virtual routers.
    pub routers: Vec<(u8, Ipv4Addr)>,
    /// Seconds between advertisements, as the file has it: 0.01 to 40.95.
    pub advert_int: &'static str,
    /// The greater, the more preferred: 1 to 254.
    pub priority: u8,
}

/// Two processes: one that watches, and its child that speaks VRRP.
pub struct Keepalived {
    daemon: Daemon,
}

impl Keepalived {
    pub fn spawn(host: &Host, options: &KeepalivedOptions) -> Self {
        let file = |name: &str| host.directory().join(name);
        let (configuration, pid, vrrp_pid) = (
            file("keepalived.conf"),
            file("keepalived.pid"),
            file("vrrp.pid"),
        );
        fs::write(&configuration, options.file(host.name())).expect("cannot write a configuration");
        // It does not start beside a file that names a live process, and pids
        // come round again.
        for stale in [&pid, &vrrp_pid] {
            let _ = fs::remove_file(stale);
        }

        let mut command = host.command("/usr/sbin/keepalived");
        // Without -G it writes to a console that may hold up everything.
        command.args(["-n", "-l", "-G", "-D", "-P"]);
        command.arg("-f").arg(configuration);
        command.arg("-p").arg(pid).arg("-r").arg(vrrp_pid);
        Self {
            daemon: Daemon::spawn(&format!("keepalived on {}", host.name()), &mut command),
        }
    }
}

impl KeepalivedOptions {
    fn file(&self, host: &str) -> String {
        let Self {
            routers,
            advert_int,
            priority,
        } = self;
        let mut text = format!("global_defs {{\n    router_id {host}\n    vrrp_version 3\n}}\n");
        for (router, vip) in routers {
            let _ = write!(
                text,
                "vrrp_instance v{router} {{\n    state BACKUP\n    interface eth0\n    \
                 virtual_router_id {router}\n    priority {priority}\n    advert_int {advert_int}\n    \
                 virtual_ipaddress {{\n        {vip}/32 dev eth0\n    }}\n}}\n"
            );
        }
        text
    }
}

impl Deref for Keepalived {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Keepalived {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
