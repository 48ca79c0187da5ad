//! tidy
use anyhow::Result;
pub(crate) fn run(_tasks: &[String]) -> Result<()> {
    Ok(())
}
