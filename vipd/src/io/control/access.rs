//! Who a client is, as the kernel says, and who may change things.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::unistd::Group;
use rustix::net::sockopt::socket_peercred;
use tokio::net::UnixStream;

/// Whoever is at the other end: the process that connected, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    /// All of them, the first and the supplementary ones.
    pub gids: Vec<u32>,
    pub pid: i32,
}

/// Who may change things, besides root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The daemon's own user: `systemctl reload` calls as him.
    uid: u32,
    admins: Option<(String, u32)>,
}

/// The group cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("there is no group {0:?}: make it with 'groupadd --system', or name another one")]
    NoGroup(String),
    #[error("cannot look up the group {0:?}")]
    Lookup(String, #[source] io::Error),
}

impl Access {
    /// Root and the user of this process.
    pub fn own() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            admins: None,
        }
    }

    /// And the members of a group. It may take its time, as names can be looked up on
    /// the network.
    pub fn with_admins(name: &str) -> Result<Self, AccessError> {
        let found = Group::from_name(name)
            .map_err(|error| AccessError::Lookup(name.to_owned(), error.into()))?;
        let group = found.ok_or_else(|| AccessError::NoGroup(name.to_owned()))?;
        Ok(Self {
            admins: Some((name.to_owned(), group.gid.as_raw())),
            ..Self::own()
        })
    }

    pub(super) fn may_change(&self, peer: &Peer) -> bool {
        let is_admin = |(_, gid): &(String, u32)| peer.gids.contains(gid);
        peer.uid == 0 || peer.uid == self.uid || self.admins.as_ref().is_some_and(is_admin)
    }

    /// Words for who is refused.
    pub(super) fn who(&self) -> String {
        match &self.admins {
            Some((name, _)) => format!("root, the daemon's user and the group {name} may do that"),
            None => "only root and the daemon's user may do that (a group may be named as admin_group in the configuration)".to_owned(),
        }
    }
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = socket_peercred(stream)?;
        let mut gids = supplementary_gids(stream)?;
        gids.push(credentials.gid.as_raw());
        Ok(Self {
            uid: credentials.uid.as_raw(),
            gids,
            pid: credentials.pid.as_raw_nonzero().get(),
        })
    }
}

/// `SO_PEERGROUPS` (unix(7), Linux 4.13), which no crate here knows.
fn supplementary_gids(stream: &UnixStream) -> io::Result<Vec<u32>> {
    // What most have; if it is more, the kernel says how much.
    let mut gids = vec![0_u32; 64];
    loop {
        let size = size_of_val(&gids[..]);
        let mut length = libc::socklen_t::try_from(size).unwrap_or(0);
        #[expect(unsafe_code, reason = "there is no safe way to ask for these")]
        // SAFETY: the kernel writes no more than `length` bytes to the vector, which
        // has them, and any bytes are good numbers.
        let done = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                gids.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if done == 0 {
            gids.truncate(count);
            return Ok(gids);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= gids.len() {
            return Err(error);
        }
        gids.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gids: &[u32]) -> Peer {
        Peer {
            uid,
            gids: gids.to_vec(),
            pid: 1,
        }
    }

    #[test]
    fn root_the_own_user_and_members_of_the_group_may_change_things() {
        let access = Access {
            uid: 500,
            admins: Some(("vipd-admin".to_owned(), 77)),
        };
        let cases = [
            (peer(0, &[0]), true),
            (peer(500, &[500]), true),
            (peer(501, &[501, 77]), true),
            (peer(501, &[77]), true),
            (peer(501, &[501, 500]), false),
            (peer(501, &[]), false),
        ];
        for (peer, may) in cases {
            assert_eq!(access.may_change(&peer), may, "{peer:?}");
        }
        let nobody = Access {
            uid: 500,
            admins: None,
        };
        assert!(!nobody.may_change(&peer(501, &[0, 77])));
    }

    #[test]
    fn a_group_is_found_by_its_name() {
        assert!(Access::with_admins("root").unwrap().who().contains("root"));
        let error = Access::with_admins("no-such-group-here").unwrap_err();
        assert!(error.to_string().contains("no-such-group-here"));
    }

    #[tokio::test]
    async fn the_kernel_says_who_is_at_the_other_end() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.pid.cast_unsigned(), std::process::id());
        assert!(peer.gids.contains(&rustix::process::getgid().as_raw()));
    }
}
