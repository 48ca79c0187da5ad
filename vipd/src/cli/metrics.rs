//! `vipd metrics`: the status in Prometheus' text format, for a file that node_exporter
//! reads. It needs no port.

use super::{Common, Exit, complain, say, status};
use crate::status::Status;

pub(super) fn print(common: &Common) -> Exit {
    let answer = match status::ask(common, None) {
        Ok(answer) => answer,
        Err(exit) => return exit,
    };
    match serde_json::from_value::<Status>(answer) {
        Ok(status) => say(&crate::metrics::text(&status)),
        Err(error) => complain(&error, Exit::Failed),
    }
}
