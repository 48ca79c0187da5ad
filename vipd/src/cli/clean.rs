//! `vipd clean`: what a crashed daemon left is removed.

use super::{Common, Exit, complain, say};
use crate::daemon;

pub(super) fn clean(common: &Common, interface: Option<&str>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, Exit::Failed),
    };
    match runtime.block_on(daemon::clean::clean(&common.paths(), interface)) {
        Ok(done) if done.is_empty() => say("there is nothing to clean\n"),
        Ok(done) => say(&(done.join("\n") + "\n")),
        Err(error) => complain(&error, Exit::Failed),
    }
}
